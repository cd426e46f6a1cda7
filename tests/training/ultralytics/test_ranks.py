"""What ranks write and how their end is told; real ones, joined by gloo on the CPU, are slow: each imports torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from specrun.errors import NodeError, OutOfMemory
from specrun.training.ultralytics.ranks import Follower, RankReport, failure, rank_environment, write_json
from tests.support.yolo_squares import write_squares

_ROOT = Path(__file__).parents[3]


class _Seen:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def progress(self, done: float, total: float | None = None, unit: str = "", phase: str = "") -> None:
        self.calls.append(("progress", done, total, unit, phase))

    def metric(self, name: str, step: float, value: float) -> None:
        self.calls.append(("metric", name, step, value))

    def log(self, text: str) -> None:
        self.calls.append(("log", text))

    def check_stop(self) -> None:
        pass


def test_what_rank_0_reports_is_handed_on_once_and_whole(tmp_path: Path) -> None:
    path, seen = tmp_path / "reports.jsonl", _Seen()
    follower = Follower(path, seen)
    follower.forward()
    report = RankReport(path)
    report.progress(1.5, 3, "epochs", "epoch 2/3")
    report.metric("größe", 2, 0.25)
    with open(path, "a") as file:
        file.write('["log", "ha')
    follower.forward()
    follower.forward()
    assert seen.calls == [("progress", 1.5, 3, "epochs", "epoch 2/3"), ("metric", "größe", 2, 0.25)]
    with open(path, "a") as file:
        file.write('lf"]\n')
    follower.forward()
    assert seen.calls[2:] == [("log", "half")]


def test_a_lack_of_memory_in_one_rank_is_the_cause_whoever_failed_first(tmp_path: Path) -> None:
    write_json(tmp_path / "failed-0.json", {"rank": 0, "error": "RuntimeError", "message": "peer gone", "hint": None})
    write_json(tmp_path / "failed-1.json", {"rank": 1, "error": "OutOfMemory", "message": "full", "hint": "Lower."})
    found = failure(tmp_path, [1, 1])
    assert isinstance(found, OutOfMemory)
    assert str(found) == "full Lower."


def test_ranks_that_died_without_a_word_are_told_with_their_status(tmp_path: Path) -> None:
    found = failure(tmp_path, [0, -9])
    assert type(found) is NodeError
    assert "rank 0: 0, rank 1: -9" in found.message


def test_the_ranks_meet_on_this_machine_without_a_name() -> None:
    environ = rank_environment(1, 2, 4000)
    assert (environ["MASTER_ADDR"], environ["RANK"], environ["LOCAL_RANK"]) == ("127.0.0.1", "1", "1")
    assert environ["WORLD_SIZE"] == "2"


def _train(folder: Path, on_oom: str = "fail", *rest: str, epochs: int = 2, **environ: str) -> Any:
    if not (folder / "export").exists():
        write_squares(folder / "export", "detect", train=16)
    settings = json.dumps({"epochs": epochs, "imgsz": 64, "batch": 8, "nbs": 8, "plots": False})
    arguments = [sys.executable, "-m", "tests.support.train_in_ranks", str(folder), settings, on_oom, *rest]
    values = {**os.environ, "PYTHONPATH": str(_ROOT), **environ}
    done = subprocess.run(arguments, env=values, cwd=folder, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-3000:] + done.stderr[-5000:]
    return json.loads(lines[-1][7:])


@pytest.mark.slow
def test_two_ranks_train_one_model_and_tell_of_it(tmp_path: Path) -> None:
    made = _train(tmp_path)
    assert (made["state"]["finished"], made["state"]["epochs"], made["state"]["batch"]) == (True, 2, 8)
    assert "metrics/mAP50(B)" in made["state"]["metrics"]
    assert [step for name, step in made["metrics"] if name == "train/box_loss"] == [1, 2]
    assert {"epoch 1/2", "epoch 2/2"} <= set(made["phases"])
    assert made["left"] == []


@pytest.mark.slow
def test_a_stop_ends_every_rank_and_the_training_goes_on_from_the_last_epoch(tmp_path: Path) -> None:
    stopped = _train(tmp_path, "fail", "1", epochs=3)
    assert stopped["error"] == "StopRequested"
    assert stopped["left"] == []
    made = _train(tmp_path, epochs=3)
    again = {step for _, step in made["metrics"]}
    assert made["state"]["epochs"] == 3
    assert 3 in again
    assert 1 not in again


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    made = _train(tmp_path, DIE_RANK="1")
    assert made["error"] == "NodeError"
    assert made["left"] == []


@pytest.mark.slow
def test_out_of_memory_in_one_rank_halves_the_batch_of_all(tmp_path: Path) -> None:
    made = _train(tmp_path, "halve", OOM_RANK="1", OOM_ABOVE="2", OOM_EPOCH="2")
    assert (made["state"]["batch"], made["state"]["accumulation"], made["state"]["epochs"]) == (4, 2, 2)
    assert [text for text in made["told"] if "Going on with a batch of 4" in text]
    assert "going on after epoch 1" in made["told"]
