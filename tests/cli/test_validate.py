import json
from pathlib import Path

import pytest

from specrun.cli.main import main
from tests.support.specs import write_spec

STEP = 'steps:\n  a: {argv: [python, "-V"]}\n'


def test_a_valid_spec_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(write_spec(tmp_path, STEP))]) == 0
    assert capsys.readouterr().out == "corals is valid: 1 node\n"


def test_mistakes_go_to_standard_error_with_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_spec(tmp_path, "steps:\n  a: {agrv: [x]}\n  b: {argv: 5}\n")
    assert main(["validate", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f'{path}:4:7: unknown key "agrv" in steps.a. Did you mean "argv"?\n'
        "    4 │   a: {agrv: [x]}\n"
        "      │       ^^^^\n\n"
        f"{path}:5:13: steps.b.argv must be a list, not 5. Write [5].\n"
        "    5 │   b: {argv: 5}\n"
        "      │             ^\n\n"
        "2 mistakes\n"
    )


def test_json_lists_every_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_spec(tmp_path, "steps:\n  a: {agrv: [x]}\n")
    assert main(["validate", str(path), "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert (data["valid"], data["project"], data["nodes"]) == (False, None, [])
    (found,) = data["diagnostics"]
    assert (found["file"], found["line"], found["column"], found["length"]) == (str(path), 4, 7, 4)
    assert found["hint"] == 'Did you mean "argv"?'


def test_json_of_a_valid_spec_lists_its_nodes_and_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_spec(tmp_path, f"{STEP}  b: {{argv: [python], after: [steps.a]}}\n")
    assert main(["validate", str(path), "--json", "--set", "steps.a.enabled=false"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["valid"], data["nodes"]) == (True, ["steps.a", "steps.b"])
    assert [found["severity"] for found in data["diagnostics"]] == ["warning"]


def test_variables_of_the_command_line_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_spec(tmp_path, 'vars: {program: python}\nsteps: {a: {argv: ["${vars.program}"]}}\n')
    assert main(["validate", str(path), "--var", "program=no-such-program"]) == 2
    assert 'there is no program "no-such-program"' in capsys.readouterr().err


CONNECTED = """\
connections:
  lab: {kind: cvat, url: "http://localhost:1", username: {env: LAB_USER}, password: {env: LAB_PASSWORD}}
sources:
  reef: {kind: cvat, connection: lab, project: reef}
"""


def test_a_secret_that_is_not_set_is_a_warning_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_USER", "ann")
    path = write_spec(tmp_path, CONNECTED)
    assert main(["validate", str(path)]) == 0
    warning = "connections.lab.password: the environment variable LAB_PASSWORD is not set."
    assert capsys.readouterr().err == f"warning: {warning} Set it, or put it into .env beside the spec.\n"
    (tmp_path / ".env").write_text("LAB_PASSWORD=x\n")
    assert main(["validate", str(path)]) == 0
    assert capsys.readouterr().err == ""
