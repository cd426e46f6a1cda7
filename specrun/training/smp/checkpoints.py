"""What a training leaves behind, so that it can go on after a kill at any moment.

weights/last.ckpt           Lightning's checkpoint: weights, optimizer, progress; replaced in one step
weights/best.safetensors    the weights of the best epoch
weights/top/012.safetensors the weights of the other best ones, if more than one is kept
training.json               how far training has come, and what was measured each epoch
.work/ranks/                of several processes: see specrun/training/ranks.py; gone when training is over
metrics.csv, tensorboard/   written anew from training.json when training goes on
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from specrun.training.smp.sharing import Share

STATE_NAME = "training.json"
LAST = "weights/last.ckpt"
BEST = "weights/best.safetensors"
TOP = "weights/top"
WORK = ".work"


@dataclass
class TrainingState:
    """key: digest of all that decides the result; another key means that nothing here is of use.

    rows: one an epoch, `epoch` counted from 1 and its metrics. best: the row of the best epoch. batch, accumulate and
    world: images at a time in each process, batches to a step, processes; as they are after halving. most: images at a
    time that a process may get, 0: as the spec says. wanted: epochs that it was to have. stopped_early: it ended before
    them by itself.
    """

    key: str
    batch: int
    accumulate: int
    world: int = 1
    most: int = 0
    finished: bool = False
    wanted: int = 0
    stopped_early: bool = False
    monitor: str = ""
    rows: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    top: list[tuple[float, int]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        path = folder / STATE_NAME
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        os.replace(partial, path)

    @property
    def share(self) -> Share:
        return Share(self.world, self.batch, self.accumulate)

    def take(self, share: Share) -> None:
        self.world, self.batch, self.accumulate = share.world, share.batch, share.accumulate

    def measured(self) -> dict[str, Any]:
        """What belongs to a moment of training, and so goes into its checkpoint."""
        return {"rows": list(self.rows), "best": dict(self.best), "top": list(self.top)}

    def restore(self, measured: dict[str, Any]) -> None:
        """Go back to the moment of a checkpoint: a kill may have come between its file and this one's."""
        self.rows, self.best = list(measured["rows"]), dict(measured["best"])
        self.top = [(float(value), int(epoch)) for value, epoch in measured["top"]]


def load_state(folder: Path) -> TrainingState | None:
    """None: no training has got anywhere here."""
    try:
        content: dict[str, Any] = json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))
        content["top"] = [(float(value), int(epoch)) for value, epoch in content["top"]]
        return TrainingState(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def start_over(folder: Path) -> None:
    """Nothing of an earlier attempt may be mistaken for this one's."""
    for name in ("weights", "tensorboard", "pictures", WORK):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (STATE_NAME, "metrics.csv"):
        (folder / name).unlink(missing_ok=True)


def words_going_on(folder: Path, epochs: int) -> str:
    """How a training of that many epochs takes up what is there, for the plan."""
    state = load_state(folder)
    if state is None or not (folder / LAST).is_file() or len(state.rows) > epochs:
        return "begins anew"
    return f"goes on after epoch {len(state.rows)}" if state.rows else "goes on in its first epoch"
