"""Checkpoints trained elsewhere, and what a changed number of epochs is expected to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from specrun.errors import NodeError
from specrun.kinds.models.ultralytics import Ultralytics
from specrun.kinds.models.ultralytics_spec import UltralyticsSpec
from specrun.model.address import parse_address
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord

SPEC = UltralyticsSpec(weights="yolo11n-seg.yaml", data="yolo", train={"epochs": 100})


def record(**facts: object) -> NodeRecord:
    return NodeRecord(
        parse_address("models.m"), "models.ultralytics", 1, "f", {}, {}, None, "d", {}, facts,  # type: ignore[arg-type]
        "models/m", "r", "2026-01-01", 60.0,
    )  # fmt: skip


def test_twice_the_epochs_are_expected_to_take_twice_as_long() -> None:
    estimate = Ultralytics().estimate(SPEC, record(epochs=50))
    assert (estimate.seconds, estimate.source) == (120.0, "last run: 50 epochs")


def test_more_epochs_alone_take_what_is_added() -> None:
    estimate = Ultralytics().estimate_of_change(SPEC, record(epochs=80), ["train.epochs"])
    assert estimate == Estimate(15.0, "goes on after epoch 80")


def test_another_format_trains_nothing() -> None:
    estimate = Ultralytics().estimate_of_change(SPEC, record(epochs=80), ["export.onnx", "export.torchscript.half"])
    assert estimate == Estimate(source="nothing is trained again")


@pytest.mark.parametrize("changed", [["train.epochs", "train.imgsz"], ["export.onnx", "weights"]])
def test_other_changes_train_anew(changed: list[str]) -> None:
    assert Ultralytics().estimate_of_change(SPEC, record(epochs=80), changed) is None


def test_fewer_epochs_train_anew() -> None:
    assert Ultralytics().estimate_of_change(SPEC, record(epochs=200), ["train.epochs"]) is None


def test_equal_epochs_take_what_they_took() -> None:
    assert Ultralytics().estimate(SPEC, record(epochs=100)).source == "last run"


@pytest.mark.slow
@pytest.mark.parametrize("content", ["not a model", ""])
def test_what_is_no_checkpoint_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    place = tmp_path / "notes.pt"
    place.write_text(content)
    with pytest.raises(NodeError) as raised:
        Ultralytics().adopt(SPEC, place, tmp_path / "staging")
    assert raised.value.message.startswith(f"{place}: is not a checkpoint that can be loaded safely: ")
    assert raised.value.message.count(str(place)) == 1
    assert "specrun." not in raised.value.message
    assert raised.value.hint == "Give a .pt checkpoint of Ultralytics."


def test_another_file_is_refused_without_loading_anything(tmp_path: Path) -> None:
    place = tmp_path / "project.yaml"
    place.write_text("a: 1")
    with pytest.raises(NodeError) as raised:
        Ultralytics().adopt(SPEC, place, tmp_path / "staging")
    assert raised.value.message == f"{place}: is no checkpoint."


@pytest.mark.slow
def test_a_checkpoint_brings_its_task_and_classes(tmp_path: Path) -> None:
    import subprocess
    import sys

    place = tmp_path / "mine.pt"
    code = (
        "import sys; from ultralytics import YOLO; model = YOLO('yolo11n-seg.yaml'); "
        "model.model.names = {0: 'a', 1: 'b'}; model.save(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, str(place)], check=True, capture_output=True)
    outputs = Ultralytics().adopt(SPEC, place, tmp_path / "staging")
    assert outputs.facts["task"] == "segment"
    assert outputs.facts["classes"] == ["a", "b"]
    assert (tmp_path / "staging/weights/best.pt").read_bytes() == place.read_bytes()
    assert sorted(p.name for p in (tmp_path / "staging").iterdir()) == ["model.json", "weights"]
