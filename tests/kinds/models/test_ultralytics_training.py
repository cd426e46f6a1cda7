"""Real training on eight tiny tiles, killed at bad moments. Slow: each process imports torch."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.coins import write_yolo_export

pytestmark = pytest.mark.slow
pytest.importorskip("skimage")

_ROOT = Path(__file__).parents[3]
_PROGRAM = _ROOT / "tests" / "support" / "kill_training.py"


def _train(folder: Path, epochs: int, moment: str = "none", **more: object) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
    arguments = [sys.executable, str(_PROGRAM), str(folder), str(epochs), moment, json.dumps(more)]
    return subprocess.run(arguments, env=environ, cwd=folder, capture_output=True, text=True)


def _staging(folder: Path) -> Path:
    return folder / "outputs" / ".staging" / "models" / "coins" / "f"


def _epochs_in_results(folder: Path) -> list[int]:
    with open(_staging(folder) / "results.csv", newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def _epochs_trained(output: str, epochs: int) -> list[int]:
    lines = output.splitlines()
    return [n for n in range(1, epochs + 1) if any(line.strip().startswith(f"{n}/{epochs} ") for line in lines)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_yolo_export(tmp_path / "export", train=8, val=2, size=64)
    return tmp_path


@pytest.mark.parametrize(
    ("moment", "trained_again"),
    [("batch:3", [3]), ("save:2", [2, 3]), ("save:3", [3]), ("strip", [])],
)
def test_a_killed_training_goes_on_after_the_last_whole_epoch(
    project: Path, moment: str, trained_again: list[int]
) -> None:
    killed = _train(project, 3, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    resumed = _train(project, 3)

    assert resumed.returncode == 0, resumed.stderr
    assert _epochs_trained(resumed.stdout, 3) == trained_again
    assert _epochs_in_results(project) == [1, 2, 3]
    facts = json.loads((_staging(project) / "training.json").read_text())
    assert (facts["epochs"], facts["finished"]) == (3, True)
    assert "metrics/mAP50(M)" in facts["metrics"]


def test_a_finished_training_that_was_not_published_is_not_repeated(project: Path) -> None:
    assert _train(project, 1).returncode == 0
    weights = (_staging(project) / "weights" / "best.pt").read_bytes()

    again = _train(project, 1)

    assert again.returncode == 0, again.stderr
    assert _epochs_trained(again.stdout, 1) == []
    assert len(weights) == (_staging(project) / "weights" / "best.pt").stat().st_size


def test_nothing_of_this_machine_and_no_caches_are_left_in_what_is_published(project: Path) -> None:
    before = sorted(path.relative_to(project) for path in (project / "export").rglob("*"))
    assert _train(project, 1).returncode == 0

    folder = _staging(project)
    names = {path.name for path in folder.iterdir()}
    assert {"weights", "model.json", "results.csv", "args.yaml", "training.json"} == names
    place = str(project).encode()
    assert [path.name for path in folder.rglob("*") if path.is_file() and place in path.read_bytes()] == []
    assert sorted(path.relative_to(project) for path in (project / "export").rglob("*")) == before


@pytest.mark.parametrize(
    ("moment", "more"),
    [
        ("batch:3", {"nbs": 2}),
        # Gradients are gathered over epochs, mosaics end before the kill.
        ("batch:4", {"nbs": 6, "warmup_epochs": 1, "close_mosaic": 2}),
        ("save:2", {"nbs": 4, "warmup_epochs": 1, "close_mosaic": 3}),
    ],
)
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, moment: str, more: dict[str, object]
) -> None:
    from tests.support.equal_checkpoints import greatest_difference

    for name in ("whole", "killed"):
        write_yolo_export(tmp_path / name / "export", train=8, val=2, size=64)
    assert _train(tmp_path / "whole", 4, **more).returncode == 0
    assert _train(tmp_path / "killed", 4, moment, **more).returncode == -signal.SIGKILL
    resumed = _train(tmp_path / "killed", 4, **more)
    assert resumed.returncode == 0, resumed.stderr
    places = [_staging(tmp_path / name) / "weights" / "last.pt" for name in ("whole", "killed")]
    assert greatest_difference(*places) == 0.0
