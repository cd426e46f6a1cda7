from __future__ import annotations

from pathlib import Path

import pytest

from specrun.training.ultralytics.checkpoints import (
    DurableFile,
    TrainingState,
    keep_complete,
    keep_rows,
    load_state,
    previous_file,
    restore_complete,
    start_over,
)


def test_a_checkpoint_is_replaced_whole_and_the_one_before_is_kept(tmp_path: Path) -> None:
    path = DurableFile(tmp_path / "weights" / "last.pt")
    path.parent.mkdir()
    path.write_bytes(b"first")
    path.write_bytes(b"second")
    assert path.read_bytes() == b"second"
    assert previous_file(Path(path)).read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]


def test_rows_without_a_checkpoint_and_cut_off_rows_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("epoch,time,loss\n1,0.5,3\n2,1.0,2\n3,1.5,1\n4,2")
    keep_rows(path, 2)
    assert path.read_text() == "epoch,time,loss\n1,0.5,3\n2,1.0,2\n"


def test_an_empty_results_file_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("")
    keep_rows(path, 2)
    assert path.read_text().strip() == ""


def test_the_state_of_a_training_is_read_back(tmp_path: Path) -> None:
    TrainingState("key", epochs=3, stopped=True, metrics={"map": 0.5}).save(tmp_path)
    assert load_state(tmp_path) == TrainingState("key", epochs=3, stopped=True, metrics={"map": 0.5})


def test_a_damaged_state_is_none(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text('{"key": "x", "unknown": 1}')
    assert load_state(tmp_path) is None
    (tmp_path / "training.json").write_text('{"ke')
    assert load_state(tmp_path) is None


def test_stripping_that_was_cut_off_is_undone(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "last.pt").write_bytes(b"last")
    (weights / "best.pt").write_bytes(b"best")
    keep_complete(tmp_path)
    (weights / "last.pt").write_bytes(b"ha")
    restore_complete(tmp_path)
    assert ((weights / "last.pt").read_bytes(), (weights / "best.pt").read_bytes()) == (b"last", b"best")


def test_starting_over_leaves_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "last.pt").write_bytes(b"last")
    (tmp_path / "results.csv").write_text("epoch\n1\n")
    TrainingState("key").save(tmp_path)
    start_over(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("state", "wanted", "serves"),
    [
        (TrainingState("k", epochs=25, wanted=40), 40, True),
        (TrainingState("k", epochs=25, wanted=40), 26, False),
        (TrainingState("k", epochs=25, wanted=40), 60, False),
        (TrainingState("k", epochs=40, wanted=40, stopped=True), 60, True),
        (TrainingState("k", epochs=40, wanted=40, stopped=True, finished=True), 60, True),
        (TrainingState("k", epochs=40, wanted=40, stopped=True, finished=True), 30, False),
    ],
)
def test_only_a_training_that_ended_goes_on_with_more_epochs(state: TrainingState, wanted: int, serves: bool) -> None:
    assert state.serves(wanted) is serves
