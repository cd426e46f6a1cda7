"""Out of memory at any epoch, simulated by a loss that refuses large batches. Slow: imports torch."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.support.trained import staging, train
from tests.support.yolo_squares import write_squares

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_squares(tmp_path / "export", "detect", train=16)
    return tmp_path


def test_the_error_names_the_setting_to_change(project: Path) -> None:
    made = train(project, train={"batch": 8}, environ={"OOM_ABOVE": "4"})
    assert made["error"] == "OutOfMemory"
    assert "with a batch of 8. Lower train.batch (8 → 4), or write on_oom: halve" in made["message"]


@pytest.mark.parametrize("epoch", [1, 3])
def test_half_the_batch_goes_on_from_the_last_epoch_with_the_same_effective_batch(project: Path, epoch: int) -> None:
    environ = {"OOM_ABOVE": "2", "OOM_EPOCH": str(epoch)}
    made = train(project, on_oom="halve", train={"batch": 8, "epochs": 3, "nbs": 8}, environ=environ)
    assert (made["facts"]["batch"], made["facts"]["epochs"]) == (2, 3)
    told = [text for text in made["told"] if "Going on with a batch" in text]
    assert [text.split("Going on with ")[1].split(" instead")[0] for text in told] == [
        "a batch of 4 and a step after 2 batches",
        "a batch of 2 and a step after 4 batches",
    ]
    with open(staging(project) / "results.csv", newline="") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [1, 2, 3]
    state = json.loads((staging(project) / "training.json").read_text())
    assert (state["batch"], state["accumulation"]) == (2, 4)


def test_when_one_image_is_too_much_training_ends(project: Path) -> None:
    made = train(project, on_oom="halve", train={"batch": 2}, environ={"OOM_ABOVE": "0"})
    assert made["error"] == "OutOfMemory"
    assert "Lower train.imgsz (64)" in made["message"]


def test_an_automatic_batch_is_halved_without_asking(project: Path) -> None:
    made = train(project, train={"batch": "auto"}, environ={"OOM_ABOVE": "8"})
    assert made["facts"]["batch"] == 8
