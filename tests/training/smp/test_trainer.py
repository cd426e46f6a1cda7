"""What is decided before anything is trained: batches, devices, and what a training on disk is good for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from specrun.errors import OutOfMemory
from specrun.model.event import LogLine
from specrun.training.smp import trainer
from specrun.training.smp.checkpoints import TrainingState, load_state
from specrun.training.smp.settings import AugmentSpec, SmpTrainSpec
from specrun.training.smp.sharing import Share
from tests.support.context import make_context


class _Ranks:
    """In place of the processes: keeps with what they were started, and fails as often as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, failures: int = 0, fits: int = 0) -> None:
        self.jobs: list[tuple[int, dict[str, Any] | None]] = []
        self.left, self.fits = failures, fits
        monkeypatch.setattr(trainer, "run_ranks", self._run)
        monkeypatch.setattr(trainer, "read_json", lambda _: {"batch": self.fits})

    def _run(self, folder: Path, count: int, ctx: Any, program: Any, **more: Any) -> None:
        import json

        self.jobs.append((count, json.loads((folder / "job.json").read_text())["state"]))
        self.left -= 1
        if self.left >= 0:
            raise OutOfMemory("out of memory on GPU 1 with a batch of 4.")


def _train(tmp_path: Path, gpus: int, *, key: str = "k", **train: Any) -> tuple[TrainingState, list[str]]:
    context = make_context(tmp_path, "models.m", gpus=tuple(range(gpus)))
    training = trainer.Training(
        described=None,  # type: ignore[arg-type]
        build=lambda: pytest.fail("nothing is built in the worker"),
        train_frames=SimpleNamespace(items=range(64)),  # type: ignore[arg-type]
        val_frames=None,
        train=SmpTrainSpec(**train),
        augment=AugmentSpec(),
        weights=None,
        folder=context.staging,
        key=key,
        resume=True,
        gpus=gpus,
        cpus=4,
        seed=1,
        tracking={},
    )
    state = trainer.train(training, trainer.Ranks(("-m", "x"), {}), context)
    return state, [event.text for event in context.events if isinstance(event, LogLine)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("gpus", "train", "expected"),
    [
        (2, {"batch": 8, "devices": 2}, Share(2, 8, 1)),
        (2, {"batch": 8}, Share(2, 4, 1)),
        (2, {"batch": 8, "devices": 4, "accumulate": 3}, Share(2, 8, 6)),
        (4, {"batch": 8, "devices": 2}, Share(4, 4, 1)),
        (0, {"batch": 8, "devices": 3}, Share(3, 8, 1)),
    ],
)
def test_a_step_of_the_optimizer_sees_as_many_images_whatever_was_leased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, train: dict[str, Any], expected: Share
) -> None:
    ranks = _Ranks(monkeypatch)
    state, told = _train(tmp_path, gpus, **train)
    assert state.share == expected
    assert ranks.jobs[0][0] == expected.world
    effective = train["batch"] * train.get("devices", 1) * train.get("accumulate", 1)
    assert any(text.endswith(f"{effective} images to a step of the optimizer") for text in told)


def test_an_automatic_batch_is_found_in_a_process_of_its_own_and_is_that_of_each_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = _Ranks(monkeypatch, fits=16)
    state, _ = _train(tmp_path, 2, batch="auto")
    assert ranks.jobs[0] == (1, None)
    assert state.share == Share(2, 16, 1)


def test_out_of_memory_halves_in_every_process_until_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = _Ranks(monkeypatch, failures=2)
    state, told = _train(tmp_path, 2, batch=8, devices=2, on_oom="halve")
    assert [(count, job["batch"], job["accumulate"]) for count, job in ranks.jobs if job] == [
        (2, 8, 1),
        (2, 4, 2),
        (2, 2, 4),
    ]
    assert state.share == Share(2, 2, 4)
    assert sum("Batch" in text for text in told) == 2


def test_without_halve_out_of_memory_is_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _Ranks(monkeypatch, failures=1)
    with pytest.raises(OutOfMemory, match="on GPU 1"):
        _train(tmp_path, 2, batch=8, devices=2)


@pytest.mark.parametrize(
    ("gpus", "most", "expected"), [(4, 0, Share(4, 4, 1)), (1, 0, Share(1, 8, 2)), (1, 4, Share(1, 4, 4))]
)
def test_with_another_number_of_gpus_an_interrupted_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, most: int, expected: Share
) -> None:
    """most: of a training that was halved before; it stays at what fitted."""
    folder = make_context(tmp_path, "models.m").staging
    rows = [{"epoch": 1.0}]
    TrainingState(key="k", batch=8, accumulate=1, world=2, most=most, wanted=100, rows=rows).save(folder)
    monkeypatch.setattr("specrun.training.smp.fitting.fit", lambda training, state, report: None)
    _Ranks(monkeypatch)
    state, _ = _train(tmp_path, gpus, batch=8, devices=2)
    assert state.share == expected
    assert state.rows == rows
    saved = load_state(folder)
    assert saved is not None
    assert saved.finished
