"""More epochs than before, warm starts, other formats. Slow: imports torch."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.support.trained import staging, train
from tests.support.yolo_squares import write_squares

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_squares(tmp_path / "export", "detect")
    return tmp_path


def _publish(project: Path) -> None:
    shutil.move(staging(project), project / "previous")


def _epochs(project: Path) -> list[int]:
    with open(staging(project) / "results.csv", newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def test_a_finished_training_goes_on_when_more_epochs_are_wanted(project: Path) -> None:
    train(project, train={"epochs": 2})
    _publish(project)
    made = train(project, train={"epochs": 3})
    assert made["facts"]["epochs"] == 3
    assert {step for _, step, _ in made["metrics"]} == {3}
    assert _epochs(project) == [1, 2, 3]
    assert "going on after epoch 2" in made["told"]


def test_with_resume_never_more_epochs_are_a_new_training(project: Path) -> None:
    train(project, train={"epochs": 1})
    _publish(project)
    made = train(project, train={"epochs": 2}, resume="never")
    assert {step for _, step, _ in made["metrics"]} == {1, 2}


def test_fewer_epochs_are_a_new_training(project: Path) -> None:
    train(project, train={"epochs": 2})
    made = train(project, train={"epochs": 1})
    assert {step for _, step, _ in made["metrics"]} == {1}
    assert _epochs(project) == [1]


def test_a_warm_start_begins_with_the_weights_of_last_time(project: Path) -> None:
    first = train(project, start_from="previous", train={"epochs": 1})
    assert not [text for text in first["told"] if text.startswith("starting from")]
    _publish(project)
    shutil.rmtree(project / "export")
    write_squares(project / "export", "detect", classes=("größe", "new", "кошка"))
    second = train(project, start_from="previous", train={"epochs": 1})
    assert "starting from the previous output, trained for größe, кошка" in second["told"]
    assert second["facts"]["classes"] == ["größe", "new", "кошка"]
    assert "Transferred" in second["log"]


def test_another_export_of_a_warm_started_model_trains_nothing(project: Path) -> None:
    train(project, start_from="previous", train={"epochs": 1})
    _publish(project)
    shutil.rmtree(project / "export")
    write_squares(project / "export", "detect")
    second = train(project, start_from="previous", train={"epochs": 1}, export={"torchscript": {}})
    assert second["metrics"] == []
    assert "only `export` changed: the weights are taken over" in second["told"]
    assert (staging(project) / second["artifacts"]["torchscript"]).is_file()


@pytest.mark.parametrize(("task", "weights"), [("segment", "yolo11n-seg.yaml"), ("classify", "yolo11n-cls.yaml")])
def test_other_formats_carry_names_size_and_normalisation_and_say_what_pytorch_says(
    tmp_path: Path, task: str, weights: str
) -> None:
    import onnx
    import torch

    write_squares(tmp_path / "export", task)
    made = train(tmp_path, weights=weights, export={"torchscript": {}, "onnx": {"opset": 17}})
    for name in ("torchscript", "onnx"):
        assert [text for text in made["told"] if text.startswith(f"export.{name}: differs from PyTorch by at most")]
    inside = {"config.txt": ""}
    torch.jit.load(str(staging(tmp_path) / made["artifacts"]["torchscript"]), _extra_files=inside)
    described = json.loads(inside["config.txt"])
    assert described["names"] == {"0": "größe", "1": "кошка"}
    assert (described["imgsz"], described["normalization"]["scale"]) == ([64, 64], 1 / 255)
    model = onnx.load(str(staging(tmp_path) / made["artifacts"]["onnx"]))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["names"] == "{0: 'größe', 1: 'кошка'}"
    assert json.loads(properties["normalization"])["channels"] == "RGB"
    assert properties["imgsz"] == "[64, 64]"
    assert list((tmp_path / "home").rglob("*")) == []
