"""`specrun doctor` and `specrun cvat`, called as the console script calls them, on the CVAT double."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from specrun.cli.main import main
from specrun.clients.cvat.session import process_sessions
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_server import api_of, make_images, make_project, make_task

SPEC = """\
specrun: 1
project: {{name: demo}}
connections:
  lab: {{kind: cvat, url: "{url}", username: admin, password: {{env: LAB_PASSWORD}}{more}}}
taxonomies:
  reef: {{classes: [coral, sand]}}
sources:
  photos: {{kind: cvat, connection: lab, project: {project}}}
datasets:
  corals: {{from: sources.photos, taxonomy: reef}}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_PASSWORD", CvatDouble.password)

    def call(*words: str) -> tuple[int, str, str]:
        process_sessions.cache_clear()
        code = main(words)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def write_spec(url: str, project: str = "reef", more: str = "") -> None:
    Path("project.yaml").write_text(SPEC.format(url=url, project=project, more=more))


def findings(out: str) -> dict[tuple[str, str], tuple[str, str]]:
    return {(f["about"], f["what"]): (f["verdict"], f["text"]) for f in json.loads(out)["findings"]}


def test_all_is_well(run: Run) -> None:
    with CvatDouble() as server:
        with api_of(server) as api:
            make_project(api, "reef", ("coral", "sand"))
        write_spec(server.url)
        code, out, _ = run("doctor")
    assert code == 0
    assert "is CVAT 2.73.0" in out
    assert '"reef" is project 1 with 0 tasks' in out
    assert "datasets.corals by taxonomies.reef knows all 2" in out
    assert out.endswith("Nothing is wrong.\n") or "to note" in out.splitlines()[-1]


def test_labels_that_the_taxonomy_does_not_know_are_named(run: Run) -> None:
    with CvatDouble() as server:
        with api_of(server) as api:
            make_project(api, "reef", ("coral", "seagrass"))
        write_spec(server.url)
        code, out, _ = run("doctor", "--json")
    assert code == 1
    verdict, text = findings(out)["sources.photos", "labels"]
    assert (verdict, text) == ("wrong", "datasets.corals by taxonomies.reef does not know seagrass")


def test_an_unknown_project_is_wrong_and_comes_with_the_nearest(run: Run) -> None:
    with CvatDouble() as server:
        with api_of(server) as api:
            make_project(api, "reefs")
        write_spec(server.url)
        code, out, _ = run("doctor")
    assert code == 1
    assert 'there is no project "reef"' in out
    assert 'Did you mean "reefs"?' in out


def test_a_wrong_password_ends_with_the_code_for_credentials(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PASSWORD", "wr0ng")
    with CvatDouble() as server:
        write_spec(server.url)
        code, out, _ = run("doctor")
    assert code == 5
    assert "the user admin cannot sign in" in out
    assert "wr0ng" not in out


def test_a_secret_that_is_not_set_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_PASSWORD")
    write_spec("http://127.0.0.1:9")
    code, out, _ = run("doctor")
    assert code == 5
    assert "LAB_PASSWORD is not set" in out


def test_nobody_listening_is_one_line(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        write_spec(f"http://127.0.0.1:{taken.getsockname()[1]}")
        code, out, _ = run("doctor", "--json")
    assert code == 1
    assert "refuses connections" in findings(out)["connections.lab", "connection"][1]


def test_an_organization_that_the_account_is_not_in_is_wrong(run: Run) -> None:
    with CvatDouble() as server:
        write_spec(server.url, more=", organization: psa")
        code, out, _ = run("doctor", "--json")
    assert code == 1
    assert 'in no organization "psa"' in findings(out)["connections.lab", "connection"][1]


def test_an_old_server_is_a_remark(run: Run) -> None:
    with CvatDouble(version="2.30.0") as server:
        with api_of(server) as api:
            make_project(api, "reef", ("coral", "sand"))
        write_spec(server.url)
        code, out, _ = run("doctor", "--json")
    assert code == 0
    verdict, text = findings(out)["connections.lab", "version"]
    assert verdict == "note"
    assert "CVAT 2.30.0: specrun knows CVAT 2.73 to 2.81" in text


def test_projects_tasks_and_labels_are_listed(run: Run, tmp_path: Path) -> None:
    with CvatDouble() as server:
        with api_of(server) as api:
            project = make_project(api, "reef", ("coral", "sand"))
            make_task(api, project, make_images(tmp_path / "images", 2), tmp_path / "links")
        write_spec(server.url)
        code, out, _ = run("cvat", "projects", "lab")
        assert code == 0
        assert out.splitlines()[1].split()[:4] == ["1", "reef", "annotation", "1"]
        _, out, _ = run("cvat", "tasks", "lab", "--project", "reef", "--json")
        assert [(task["name"], task["size"]) for task in json.loads(out)] == [("first", 2)]
        _, out, _ = run("cvat", "labels", "--project", "reef")
        assert [line.split()[1:3] for line in out.splitlines()[1:]] == [["coral", "polygon"], ["sand", "polygon"]]


def test_a_server_can_be_looked_at_without_a_spec(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CVAT_ACCESS_TOKEN", raising=False)
    with CvatDouble() as server:
        code, _, err = run("cvat", "projects", "--url", server.url)
        assert code == 2
        assert "CVAT_ACCESS_TOKEN" in err
        monkeypatch.setenv("CVAT_USERNAME", server.user)
        monkeypatch.setenv("CVAT_PASSWORD", server.password)
        code, out, _ = run("cvat", "projects", "--url", server.url, "--json")
        assert (code, json.loads(out)) == (0, [])


def test_a_connection_that_the_spec_has_not_is_a_wrong_command_line(run: Run) -> None:
    write_spec("http://127.0.0.1:9")
    code, _, err = run("cvat", "projects", "labb")
    assert code == 2
    assert "Did you mean" in err


def test_labels_need_a_project(run: Run) -> None:
    code, _, err = run("cvat", "labels")
    assert code == 2
    assert "--project" in err


def test_refused_credentials_end_the_listing_with_their_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PASSWORD", "wr0ng")
    with CvatDouble() as server:
        write_spec(server.url)
        code, _, err = run("cvat", "projects")
    assert code == 5
    assert "cannot sign in" in err


@pytest.mark.parametrize(
    ("url", "verdict"), [("http://192.168.1.7:9090/hook", "note"), ("https://hooks.example.org/hook", "fine")]
)
def test_webhooks_to_private_addresses_are_noted(url: str, verdict: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with CvatDouble() as server:
        write_spec(server.url)
        Path("project.yaml").write_text(
            Path("project.yaml").read_text().partition("sources:")[0]
            + f"""\
sources: {{photos: {{kind: images, path: photos}}}}
cvat_projects:
  round1:
    connection: lab
    project: reef
    labels: {{from: taxonomies.reef}}
    tasks: {{from: sources.photos}}
    webhook: {{url: "{url}", secret: {{env: LAB_PASSWORD}}}}
"""
        )
        code, out, _ = run("doctor", "--json")
    assert code == 0
    found = findings(out)["cvat_projects.round1", "webhook"]
    assert found[0] == verdict
    assert "private network" in found[1]


SENDING = """\
cvat_projects:
  round:
    connection: lab
    project: {project}
    labels: {{from: taxonomies.reef}}
    tasks: {{from: sources.pictures, assignee: {assignee}}}
    prelabels: {{from: sources.pictures, label_map: {{a: coral, b: corall}}}}
"""


def write_sending(url: str, project: str, assignee: str) -> None:
    text = SPEC.format(url=url, project="reef", more="")
    pictures = "  pictures: {kind: images, path: .}\ndatasets:"
    Path("project.yaml").write_text(
        text.replace("datasets:", pictures) + SENDING.format(project=project, assignee=assignee)
    )


def test_an_unknown_assignee_a_target_that_is_no_label_and_a_likely_slip_are_found(run: Run) -> None:
    with CvatDouble() as server:
        with api_of(server) as api:
            make_project(api, "reef", ("corals", "sand"))
        write_sending(server.url, "reef", "adm")
        code, out, _ = run("doctor", "--json")
        found = [(f["what"], f["verdict"], f["text"]) for f in json.loads(out)["findings"]
                 if f["about"] == "cvat_projects.round"]  # fmt: skip
        assert code == 1
        assert ("prelabels", "wrong", 'prelabels.label_map.b: "corall" is none of the labels') in found
        assert any(what == "assignee" and verdict == "wrong" for what, verdict, _ in found)
        assert any('"coral" is close to "corals"' in text for _, verdict, text in found if verdict == "note")
        write_sending(server.url, "refe", "admin")
        _, out, _ = run("doctor", "--json")
        (project,) = [
            f for f in json.loads(out)["findings"] if (f["about"], f["what"]) == ("cvat_projects.round", "project")
        ]
        assert (project["verdict"], project["hint"]) == ("note", 'Did you mean "reef"?')


def test_what_an_unset_password_leaves_unseen_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_PASSWORD")
    write_spec("http://localhost:1")
    code, out, _ = run("doctor", "--json")
    assert code == 5
    assert findings(out)["connections.lab", "not looked at"] == ("note", "sources.photos: projects, labels and people")
