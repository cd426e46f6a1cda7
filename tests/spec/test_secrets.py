import subprocess
from pathlib import Path

import pytest

from specrun.errors import CredentialsError
from specrun.spec.diagnostics import render_diagnostics
from specrun.spec.report import without_secrets
from specrun.spec.secrets import find_references, resolve_secret
from tests.support.specs import load, mistakes


def shown(folder: Path, text: str, **options: object) -> str:
    return render_diagnostics(mistakes(folder, text, **options), color=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "written",
    [
        "password: hunter2",
        'password: "hunter2"',
        "password:\n      hunter2",
        "password: [hunter2]",
        "password: {hunter2}",
        "password: {value: hunter2}",
        "pasword: hunter2",
        "token: hunter2",
        "pw: hunter2",
        "password: |\n      hunter2",
        "pasword: hunter2\n    password: hunter2\n    timeout: hunter",
    ],
)
def test_a_literal_secret_is_a_mistake_that_shows_nothing_of_it(tmp_path: Path, written: str) -> None:
    text = shown(tmp_path, f"servers:\n  s:\n    url: x\n    {written}\n")
    assert "project.yaml:6" in text or "project.yaml:7" in text
    assert "hunter2" not in text


def test_a_mistake_beside_a_secret_does_not_show_it(tmp_path: Path) -> None:
    text = shown(tmp_path, "servers:\n  s: {password: hunter2, url: 5}\n")
    assert "servers.s.url must be text, not 5" in text
    assert "hunter2" not in text


def test_a_syntax_error_beside_a_secret_does_not_show_it(tmp_path: Path) -> None:
    assert "hunter2" not in shown(tmp_path, "servers:\n  s: {password: hunter2, url: [\n")
    assert "hunter2" not in shown(tmp_path, "servers:\n  s: {password: 'hunter2\n")


def test_a_secret_on_the_command_line_is_not_shown(tmp_path: Path) -> None:
    text = shown(tmp_path, "servers:\n  s: {url: x}\n", sets={"servers.s.password": "hunter2"})
    assert "--set servers.s.password" in text
    assert "hunter2" not in text


def test_an_interpolated_secret_is_pointed_to_the_reference(tmp_path: Path) -> None:
    text = "servers:\n  s: {url: x, password: '${env.PW}'}\n"
    (found,) = mistakes(tmp_path, text, environ={"PW": "hunter2"})
    assert found.hint == "Write {env: PW}, without ${…}."
    assert "hunter2" not in str(found) + str(found.source_line)


def test_masks_leave_references_and_other_words_alone() -> None:
    assert without_secrets("token: {env: HF_TOKEN}, a: b") == "token: {env: HF_TOKEN}, a: b"
    assert without_secrets('{api_key: "abc", url: x}') == "{api_key: ***, url: x}"
    assert without_secrets("password: ${env.PW}") == "password: ${env.PW}"
    assert without_secrets("passes: 3") == "passes: 3"
    assert without_secrets("token: null") == "token: null"


def test_references_reach_the_declaration_and_nothing_else(tmp_path: Path) -> None:
    text = """
    servers: {s: {url: x, password: {file: secrets.yaml, key: a.b}}}
    sources: {a: {kind: folder, path: x, server: s}}
    models: {m: {data: a, token: {env: TOKEN}}}
    """
    project = load(tmp_path, text, environ={"TOKEN": "hunter2"})
    source, model = project.nodes
    assert list(find_references(source.declarations)) == [{"file": "secrets.yaml", "key": "a.b"}]
    assert list(find_references(model.config)) == [{"env": "TOKEN"}]
    assert "token" not in model.result_config
    assert "hunter2" not in project.resolved_yaml + str(project.nodes)


def test_each_form_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("one\n")
    (tmp_path / "s.yaml").write_text("cvat: {password: two}\n")
    (tmp_path / "s.json").write_text('{"a": {"b": 3}}')
    (tmp_path / "s.toml").write_text('[a]\nb = "four"\n')
    (tmp_path / "s.env").write_text("A=five\n")

    def run(argv: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 0, f"{argv[1]}\n", "")

    def resolved(reference: dict[str, object]) -> str:
        return resolve_secret(reference, {"A": "zero"}, tmp_path, run_command=run)

    assert resolved({"env": "A"}) == "zero"
    assert resolved({"file": "plain"}) == "one"
    assert resolved({"file": "s.yaml", "key": "cvat.password"}) == "two"
    assert resolved({"file": "s.json", "key": "a.b"}) == "3"
    assert resolved({"file": "s.toml", "key": "a.b"}) == "four"
    assert resolved({"file": "s.env", "key": "A"}) == "five"
    assert resolved({"command": ["echo", "six"]}) == "six"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"env": "A"}, "the environment variable A is not set"),
        ({"file": "gone"}, "gone cannot be read: No such file or directory"),
        ({"file": "s.yaml", "key": "a.c"}, 's.yaml has no "a.c"'),
        ({"file": "s.yaml", "key": "a"}, '"a" in the secret file'),
        ({"file": "bad.json", "key": "a"}, "bad.json is no valid json"),
        ({"keyring": "nouser"}, 'keyring "nouser": write service/user'),
        ({"command": ["fails"]}, "the command fails for a secret ended with status 3"),
        ({"password": "hunter2"}, "a secret is given by something that is no reference"),
        ("hunter2", "a secret is given by something that is no reference"),
    ],
)
def test_a_secret_that_cannot_be_resolved_names_its_reference_only(
    tmp_path: Path, reference: object, message: str
) -> None:
    (tmp_path / "s.yaml").write_text("a: {b: hunter2}\n")
    (tmp_path / "bad.json").write_text("{hunter2")

    def run(argv: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 3, "hunter2", "hunter2")

    with pytest.raises(CredentialsError) as caught:
        resolve_secret(reference, {}, tmp_path, run_command=run)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_white_space_around_a_secret_does_not_belong_to_it(tmp_path: Path) -> None:
    assert resolve_secret({"env": "TOKEN"}, {"TOKEN": "s3cret\r\n"}, tmp_path) == "s3cret"


def test_a_secret_with_control_characters_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="control characters") as refused:
        resolve_secret({"env": "TOKEN"}, {"TOKEN": "one\ntwo"}, tmp_path)
    assert "one" not in f"{refused.value} {refused.value.hint}"
    assert "TOKEN" in str(refused.value.hint)
