"""`specrun prune` and `specrun rollback --list` on a little project of steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from specrun.cli.main import main
from specrun.store.locks import ProjectLock

HEAD = "specrun: 1\nproject: {name: demo}\nsteps:\n"
ONE = f'{HEAD}  unet: {{argv: [sh, -c, "echo one > o"], keep: 1}}\n'
MATRIX = f'{HEAD}  unet: {{matrix: {{enc: [x, y]}}, argv: [sh, -c, "echo ${{matrix.enc}} > o"]}}\n'

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Writes a spec and calls a command; gives exit code and standard output."""
    monkeypatch.chdir(tmp_path)

    def call(spec: str, *words: str) -> tuple[int, str]:
        (tmp_path / "project.yaml").write_text(spec)
        return int(main(words)), capfd.readouterr().out

    return call


def test_prune_leaves_the_instances_in_the_folder_of_a_node_that_is_gone(run: Run, tmp_path: Path) -> None:
    run(ONE, "apply", "--ui", "quiet")
    folder = tmp_path / "outputs/steps/unet"
    shutil.rmtree(folder)
    assert run(MATRIX, "apply", "--ui", "quiet")[0] == 0
    code, out = run(MATRIX, "prune", "--yes")
    assert code == 0
    assert f"left alone: {folder}" in out
    assert [(folder / f"enc={name}/o").read_text() for name in "xy"] == ["x\n", "y\n"]
    assert "nothing to remove" in run(MATRIX, "prune", "--yes")[1]


def test_prune_removes_what_was_only_begun_for_a_node_that_is_gone(run: Run, tmp_path: Path) -> None:
    failing = f"{HEAD}  old: {{argv: [sh, -c, 'echo half > o; exit 1']}}\n"
    run(failing, "apply", "--ui", "quiet")
    killed = tmp_path / "outputs/.staging/steps/older" / ("f" * 32)
    killed.mkdir(parents=True)
    assert list((tmp_path / "outputs/.staging/steps/old").iterdir())
    code, out = run(ONE, "prune", "--yes")
    assert code == 0
    assert "- steps.old " in out
    assert str(killed) in out
    assert list((tmp_path / "outputs/.staging").iterdir()) == []
    assert list((tmp_path / "outputs/.trash").iterdir()) == []
    assert "nothing to remove" in run(ONE, "prune", "--yes")[1]


def test_earlier_outputs_are_listed_while_a_run_holds_the_project(run: Run, tmp_path: Path) -> None:
    run(ONE, "apply", "--ui", "quiet")
    again = ONE.replace("echo one", "echo two")
    run(again, "apply", "--ui", "quiet")
    with ProjectLock(tmp_path / ".specrun/lock").hold("apply"):
        code, out = run(again, "rollback", "steps.unet", "--list")
    assert code == 0
    assert len(out.splitlines()) == 1
