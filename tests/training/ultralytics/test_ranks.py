"""Real ranks of Ultralytics, joined by gloo on the CPU. Slow: each imports torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.yolo_squares import write_squares

_ROOT = Path(__file__).parents[3]


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
