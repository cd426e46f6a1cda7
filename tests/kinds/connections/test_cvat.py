"""connections: cvat: what is refused, what is warned of, and what of it is part of a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specrun.clients.cvat.connection import Connection
from specrun.errors import CredentialsError, SpecError
from specrun.kinds.connections.cvat import CvatConnection, CvatConnectionSpec
from specrun.kinds.registry import REGISTRY
from specrun.spec.project import Project, load_project
from tests.support.look import make_look

TOKEN = "access_token: {env: CVAT_ACCESS_TOKEN}"


def load(tmp_path: Path, *lines: str) -> Project:
    entry = "".join(f"    {line}\n" for line in ("kind: cvat", *lines))
    (tmp_path / "project.yaml").write_text(f"specrun: 1\nproject: {{name: p}}\nconnections:\n  lab:\n{entry}")
    return load_project(tmp_path / "project.yaml", REGISTRY)


def mistakes(tmp_path: Path, *lines: str) -> str:
    with pytest.raises(SpecError) as raised:
        load(tmp_path, *lines)
    return str(raised.value)


def resolved(**fields: Any) -> dict[str, Any]:
    kind = CvatConnection()
    return kind.resolve(CvatConnectionSpec.model_validate({"access_token": {"env": "T"}, **fields}), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["cvat.example.org", "ftp://cvat.org", "https://", "https://h:99999"])
def test_what_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    assert "address" in mistakes(tmp_path, f'url: "{url}"', TOKEN)


def test_the_address_of_a_page_is_refused_with_the_servers(tmp_path: Path) -> None:
    assert "https://cvat.org" in mistakes(tmp_path, "url: https://cvat.org/projects/5", TOKEN)


def test_a_password_in_the_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    said = mistakes(tmp_path, "url: https://ann:hush@cvat.org", TOKEN)
    assert "holds a user or password" in said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "nobody signs in"),
        (("username: ann",), "has no password"),
        (("password: {env: P}",), "nobody signs in"),
        ((TOKEN, "username: ann", "password: {env: P}"), "stands beside username or password"),
    ],
)
def test_there_is_one_way_to_sign_in(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    assert said in mistakes(tmp_path, "url: https://cvat.org", *lines)


def test_a_literal_token_is_refused_and_not_repeated(tmp_path: Path) -> None:
    said = mistakes(tmp_path, "url: https://cvat.org", "access_token: abcdef")
    assert "abcdef" not in said


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://10.0.0.5", "http://cvat.local", "https://cvat.org"])
def test_an_address_nearby_or_encrypted_is_fine(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, f'url: "{url}"', TOKEN).warnings == ()


def test_an_open_line_across_the_internet_is_warned_of(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, "url: http://cvat.example.org", TOKEN).warnings
    assert "is not encrypted" in str(warning)


def test_believing_any_certificate_is_warned_of(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, "url: https://cvat.org", TOKEN, "verify_tls: false").warnings
    assert "any certificate is believed" in str(warning)


def test_only_the_host_is_part_of_a_result() -> None:
    kind = CvatConnection()
    one = kind.result(resolved(url="https://cvat.org/"))
    assert one == {"host": "cvat.org"}
    assert kind.result(resolved(url="http://CVAT.org", timeout="5s", organization="reef")) == one


def test_a_declaration_becomes_a_connection() -> None:
    found = Connection.from_declaration(
        resolved(url="http://cvat.test:8080/", organization="", requests_deadline="2h"),
        lambda reference: str(reference),
    )
    assert (found.url, found.host, found.organization) == ("http://cvat.test:8080", "cvat.test:8080", "")
    assert (found.token, found.requests_deadline_s, found.timeout_s) == ("{'env': 'T'}", 7200.0, 60.0)


def test_observing_reads_secrets_from_the_env_file_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("T=from-the-file\n")
    look = make_look(tmp_path, "sources.reef")
    assert look.secret({"env": "T", "file": None}) == "from-the-file"
    with pytest.raises(CredentialsError, match="MISSING is not set"):
        look.secret({"env": "MISSING"})


def test_observing_sees_what_another_node_told(tmp_path: Path) -> None:
    look = make_look(tmp_path, "sources.reef", facts={"cvat_projects.round1": {"project_id": 7}})
    assert look.facts("cvat_projects.round1") == {"project_id": 7}
    assert look.facts("cvat_projects.round2") is None


def test_a_user_name_is_text_or_a_reference() -> None:
    fields = {"url": "https://cvat.org", "access_token": None, "password": {"env": "P"}}

    def told(reference: Any) -> str:
        return {"U": "ann", "P": "hush"}[reference["env"]]

    for given in ("ann", {"env": "U"}):
        connection = Connection.from_declaration(resolved(**fields, username=given), told)
        assert (connection.username, connection.password) == ("ann", "hush")
