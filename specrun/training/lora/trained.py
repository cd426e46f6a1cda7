"""What a training hands on to what comes after it, from this process or from ranks that have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from specrun.training.lora import dora, formats
from specrun.training.lora.trainer import Training

JOB_NAME, TRAINED_NAME = "job.pickle", "trained.pt"
"""In the folder of ranks: what they are given, and what comes back."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """weights: with PEFT's names. text_encoders: those that learnt. validation_loss, training_loss: the last ones.

    magnitudes: of DoRA, by the same names, as readers of kohya's format take them.
    """

    weights: Mapping[str, torch.Tensor]
    magnitudes: Mapping[str, torch.Tensor]
    adapter_metadata: str
    text_encoders: tuple[str, ...]
    predicts: str
    zero_snr: bool
    steps: int
    validation_loss: float | None
    training_loss: float | None
    notes: tuple[str, ...]


def trained_by(training: Training) -> Trained:
    losses = [row["val/loss"] for row in training.progress.rows if "val/loss" in row]
    learnt = [row["train/loss"] for row in training.progress.rows if "train/loss" in row]
    weights = formats.packed(training.weights())
    return Trained(
        weights=weights,
        magnitudes=dora.magnitudes_for_readers(weights, training.learning, training.job.spec.scale),
        adapter_metadata=training.adapter_metadata(),
        text_encoders=tuple(name for name in training.learning if name != training.parts.component),
        predicts=training.noising.prediction.kind,
        zero_snr=training.noising.prediction.zero_snr,
        steps=training.progress.step,
        validation_loss=losses[-1] if losses else None,
        training_loss=learnt[-1] if learnt else None,
        notes=training.records.notes,
    )


def save_trained(trained: Trained, path: Path) -> None:
    torch.save(asdict(trained), path)


def load_trained(path: Path) -> Trained:
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return Trained(**content)
