"""What one training is given."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from specrun.training.smp.data import Frames
from specrun.training.smp.description import ModelDescription
from specrun.training.smp.settings import AugmentSpec, SmpTrainSpec


@dataclass(frozen=True, kw_only=True)
class Training:
    """build: a new network with its first weights. frames: by split. folder: where weights go. key: see
    TrainingState. gpus: how many were leased, 0 for the CPU. weights: of the classes in the loss. tracking: see
    Tracking."""

    described: ModelDescription
    build: Callable[[], nn.Module]
    train_frames: Frames
    val_frames: Frames | None
    train: SmpTrainSpec
    augment: AugmentSpec
    weights: tuple[float, ...] | None
    folder: Path
    key: str
    resume: bool
    gpus: int
    cpus: int
    seed: int
    tracking: Mapping[str, Any]


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
