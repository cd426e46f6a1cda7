"""What a training leaves behind, so that it goes on exactly after a kill at any moment.

last.ckpt      weights, optimizer, learning rate, averages, position and what was measured; replaced in one step
reached.json   its step, written after it, for plans, which must not import torch
checkpoints/   earlier weights, if some are kept

Noise, order and dropout of each step are drawn from the seed and the step's number, so the position is all that there
is to say of random states.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from specrun.training.lora.reached import REACHED, note_reached

LAST = "last.ckpt"
KEPT = "checkpoints"


@dataclass
class Progress:
    """key: digest of all that decides the result. step: of the optimizer. rows: one a report. kept: (what is low when
    good, step) of weights in checkpoints/. reported: the last step whose validation and pictures are done.
    at_a_time: images of a rank that fit into memory together, at most the batch.
    """

    key: str
    at_a_time: int = 1
    step: int = 0
    finished: bool = False
    rows: list[dict[str, float]] = field(default_factory=list)
    kept: list[tuple[float, int]] = field(default_factory=list)
    reported: int = -1
    loss_sum: float = 0.0
    loss_count: int = 0


def save(folder: Path, progress: Progress, states: dict[str, Any]) -> None:
    path = folder / LAST
    partial = path.with_suffix(".part")
    torch.save({"progress": vars(progress), **states}, partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    note_reached(folder, progress.step)


def load(folder: Path, key: str) -> tuple[Progress, dict[str, Any]] | None:
    """None: there is nothing to go on with, or it was made under other settings."""
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        progress = Progress(**content.pop("progress"))
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, ValueError):
        return None
    return (progress, content) if progress.key == key else None


def start_over(folder: Path) -> None:
    """Nothing of an earlier attempt may be mistaken for this one's."""
    for name in (KEPT, "samples"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (LAST, REACHED, "metrics.csv", "lora.safetensors", "lora_kohya.safetensors", "lora.json"):
        (folder / name).unlink(missing_ok=True)
