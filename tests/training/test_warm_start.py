from __future__ import annotations

import json
from pathlib import Path

import pytest

from specrun.errors import NodeError
from specrun.model.address import parse_address
from specrun.model.work import Made
from specrun.training.warm_start import Start, find_start, start_file, start_needs, start_problems
from tests.support.context import make_context


def _model(folder: Path, kind: str = "smp", name: str = "best.safetensors") -> Path:
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / name).write_bytes(b"x")
    (folder / "model.json").write_text(json.dumps({"kind": kind, "classes": ["a", "b"]}))
    return folder


def test_the_first_time_there_is_no_previous_output(tmp_path: Path) -> None:
    assert find_start("previous", make_context(tmp_path, "models.m"), kind="smp") is None


def test_the_previous_output_brings_its_checkpoint_and_classes(tmp_path: Path) -> None:
    previous = _model(tmp_path / "before")
    found = find_start("previous", make_context(tmp_path, "models.m", previous=previous), kind="smp")
    assert found == Start(previous / "weights/best.safetensors", ("a", "b"), "the previous output")


def test_another_model_is_an_input(tmp_path: Path) -> None:
    (need,) = start_needs("models.other[seed=1]")
    assert need.ref == "models.other[seed=1]"
    made = Made(parse_address("models.other"), "models.smp", _model(tmp_path / "other"), "d")
    found = find_start("models.other", make_context(tmp_path, "models.m", made={need.role: [made]}), kind="smp")
    assert found is not None
    assert found.where == "models.other"


def test_a_path_is_observed_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"x")
    assert start_file("mine.pt") == "mine.pt"
    assert [start_file(text) for text in (None, "previous", "models.x")] == [None, None, None]
    assert start_problems("mine.pt", tmp_path) == []
    ((problem),) = start_problems("yours.pt", tmp_path)
    assert (problem.path, problem.message) == ("start_from", "There is no file yours.pt.")
    found = find_start("mine.pt", make_context(tmp_path, "models.m"), kind="smp")
    assert found == Start(tmp_path / "mine.pt", None, "mine.pt")


def test_weights_of_the_other_trainer_are_refused(tmp_path: Path) -> None:
    previous = _model(tmp_path / "before", kind="ultralytics", name="best.pt")
    with pytest.raises(NodeError, match="the previous output is a model of kind ultralytics"):
        find_start("previous", make_context(tmp_path, "models.m", previous=previous), kind="smp")
