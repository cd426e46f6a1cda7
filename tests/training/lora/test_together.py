"""Two ranks on the CPU, joined by gloo: what several GPUs do with NCCL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from specrun.errors import NodeError, OutOfMemory, StopRequested
from specrun.model.event import LogLine, Metric
from specrun.training.lora import checkpoints
from specrun.training.lora.crew import Crew
from specrun.training.lora.together import train_together
from specrun.training.lora.trained import Trained
from specrun.training.lora.trainer import Training
from tests.support.lora_rank import noting_gradients
from tests.support.lora_training import make_job, pictures, small_spec

PROGRAM = ("-m", "tests.support.lora_rank")
SIZES = ((64, 64), (64, 64), (128, 64), (64, 64), (128, 64), (96, 96), (64, 64))
FIELDS: dict[str, Any] = {
    "batch": 1, "gradient_accumulation": 2, "max_steps": 5, "cache_latents": False, "random_flip": True,
    "ema": 0.9, "lr_scheduler": "cosine", "validation": {"split": 0.3, "every": 2},
}  # fmt: skip


def trained(
    folder: Path, base: Path, ranks: int, *, program: Any = PROGRAM, stop: Any = None, **changes: Any
) -> tuple[Trained, list[Any]]:
    events: list[Any] = []
    given: dict[str, Any] = {"cpus": 2, "emit": events.append}
    if stop is not None:
        given["stop"] = lambda: stop(events)
    job, ctx = make_job(folder, small_spec(base, **{**FIELDS, **changes}), pictures(folder / "images", SIZES), **given)
    return train_together(replace(job, ranks=ranks), ctx, program), events


def assert_close(one: Trained, other: Trained) -> None:
    """A weight goes 5e-3 at most; of a gradient that is rounding alone Adam makes a step, so single ones may differ."""
    assert one.weights.keys() == other.weights.keys()
    differences = torch.cat([(other.weights[name] - value).abs().flatten() for name, value in one.weights.items()])
    assert differences.max() < 1e-4
    assert differences.mean() < 1e-7
    assert other.validation_loss == pytest.approx(one.validation_loss, rel=1e-5)


def test_two_ranks_learn_what_one_learns_with_twice_the_batch(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIENTS", str(tmp_path / "two.pt"))
    two, events = trained(tmp_path / "two", sd, 2)
    monkeypatch.setattr(Training, "_apply_gradients", noting_gradients(tmp_path / "alone.pt"))
    alone, _ = trained(tmp_path / "alone", sd, 1, batch=2)
    assert two.steps == alone.steps == 5
    assert_close(alone, two)
    (first, *_), (same, *_) = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("two", "alone"))
    assert len(first) == len(same) > 0
    for one, other in zip(first, same, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-4)
    assert any(value.abs().max() > 0 for name, value in two.weights.items() if ".lora_B." in name)
    told = [(event.name, event.step) for event in events if isinstance(event, Metric)]
    assert [step for name, step in told if name == "val/loss"] == [0, 2, 4, 5], "one rank reports"


@pytest.mark.slow
def test_ranks_that_were_stopped_go_on_as_if_nothing_had_been(sd: Path, tmp_path: Path) -> None:
    whole, _ = trained(tmp_path / "whole", sd, 2, dropout=0.2)

    def after_two(events: list[Any]) -> bool:
        return any(isinstance(e, Metric) and e.name == "val/loss" and e.step >= 2 for e in events)

    with pytest.raises(StopRequested):
        trained(tmp_path / "parts", sd, 2, stop=after_two, dropout=0.2)
    (ckpt,) = (tmp_path / "parts").rglob(checkpoints.LAST)
    assert 2 <= torch.load(ckpt, weights_only=True)["progress"]["step"] < 5
    again, events = trained(tmp_path / "parts", sd, 2, dropout=0.2)
    assert any("going on from step" in event.text for event in events if isinstance(event, LogLine))
    assert all(torch.equal(again.weights[name], value) for name, value in whole.weights.items())


def test_a_rank_that_dies_ends_the_training_with_its_last_words(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE_RANK", "1")
    with pytest.raises(NodeError, match=r"rank 1 was ended by SIGKILL[\s\S]*the last words of this rank"):
        trained(tmp_path, sd, 2)


@pytest.mark.slow
def test_a_rank_that_fails_says_why(sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_RANK", "1")
    with pytest.raises(NodeError, match="rank 1: ValueError: a wrong turn"):
        trained(tmp_path, sd, 2)


@pytest.mark.slow
def test_one_rank_short_of_memory_halves_the_batch_of_all(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = trained(tmp_path / "alone", sd, 1, batch=4)
    monkeypatch.setenv("OOM_RANK", "1")
    monkeypatch.setenv("OOM_ABOVE", "1")
    two, events = trained(tmp_path / "two", sd, 2, batch=2, on_oom="halve")
    assert_close(alone, two)
    told = [event.text for event in events if isinstance(event, LogLine)]
    assert any("with 2 images at a time; going on with 1" in line for line in told)
    with pytest.raises(OutOfMemory, match=r"out of memory on the CPU"):
        trained(tmp_path / "failing", sd, 2, batch=2)


def test_images_are_shared_out_evenly() -> None:
    batch = range(7)
    parts = [Crew(rank, 3).share(batch) for rank in range(3)]
    assert parts == [(0, 3), (3, 5), (5, 7)]
    assert [Crew(rank, 4).share(range(2)) for rank in range(4)] == [(0, 1), (1, 2), (2, 2), (2, 2)]
