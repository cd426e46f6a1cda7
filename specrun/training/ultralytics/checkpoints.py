"""Checkpoints that survive a kill at any moment.

    <folder>/weights/last.pt, best.pt      what the library writes, here through DurableFile: never half-written
    <folder>/.work/previous/               the file that each of them replaced
    <folder>/.work/complete/               both, as they were when the last epoch was over
    <folder>/training.json                 how far training has come; published too, so that a kill between the
                                           end of training and publishing trains nothing again

The library writes last.pt in place, then best.pt, and after the last epoch strips both of their optimizer
state, again in place. A kill in there leaves a file that cannot be read, a best.pt that is not the best, or a
last.pt that says "nothing to resume".
"""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path, PosixPath
from typing import Any

WORK = ".work"
STATE_NAME = "training.json"
_NAMES = ("last.pt", "best.pt")


class DurableFile(PosixPath):
    """A path whose `write_bytes` replaces the file in one step and keeps what was there before."""

    def write_bytes(self, data: Any) -> int:
        partial = Path(f"{self}.part")
        partial.write_bytes(data)
        kept = previous_file(Path(self))
        kept.parent.mkdir(parents=True, exist_ok=True)
        if self.exists():
            os.replace(self, kept)
        os.replace(partial, self)
        return len(data)


@dataclass
class TrainingState:
    """key: digest of everything that decides the result; another key means that nothing here is of use.

    epochs: finished ones. wanted: as the spec asked for. stopped: the last epoch is over.
    metrics: of the best checkpoint, once validated.
    batch, accumulation: once known; halved ones after a lack of memory, and kept by what goes on from here.
    """

    key: str
    epochs: int = 0
    wanted: int = 0
    stopped: bool = False
    finished: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    batch: int | None = None
    accumulation: int | None = None

    def serves(self, wanted: int) -> bool:
        """Whether a training of so many epochs can go on from here. The learning rate was chosen for `self.wanted`:
        half of that schedule is no training of another length, while one that ended may be given more."""
        return self.epochs <= wanted and (self.stopped or self.finished or self.wanted in (0, wanted))

    def save(self, folder: Path) -> None:
        path = folder / STATE_NAME
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        os.replace(partial, path)


def load_state(folder: Path) -> TrainingState | None:
    """None: no training has got anywhere here."""
    try:
        return TrainingState(**json.loads((folder / STATE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def previous_file(path: Path) -> Path:
    return path.parent.parent / WORK / "previous" / path.name


def keep_complete(folder: Path) -> None:
    """Copies, because the library strips the originals in place."""
    target = folder / WORK / "complete"
    target.mkdir(parents=True, exist_ok=True)
    for name in _NAMES:
        if (folder / "weights" / name).is_file():
            partial = target / f"{name}.part"
            shutil.copyfile(folder / "weights" / name, partial)
            os.replace(partial, target / name)


def restore_complete(folder: Path) -> None:
    for name in _NAMES:
        if (folder / WORK / "complete" / name).is_file():
            shutil.copyfile(folder / WORK / "complete" / name, folder / "weights" / name)


def keep_resumable(folder: Path) -> None:
    """Undo the stripping of last.pt, so that what is published can go on with more epochs."""
    complete, last = folder / WORK / "complete" / "last.pt", folder / "weights" / "last.pt"
    if complete.is_file():
        partial = last.with_suffix(".part")
        shutil.copyfile(complete, partial)
        os.replace(partial, last)


def allow_epochs(checkpoint: Path, epochs: int) -> None:
    """Write the number of epochs into the checkpoint: on a resume the library takes it from there, whatever it is
    asked for, and calls a training of fewer epochs finished."""
    import torch  # heavy

    loaded = load_resumable(checkpoint)
    if loaded is None or loaded["train_args"].get("epochs") == epochs:
        return
    loaded["train_args"]["epochs"] = epochs
    partial = checkpoint.with_suffix(".part")
    torch.save(loaded, partial)
    os.replace(partial, checkpoint)


def load_resumable(path: Path) -> dict[str, Any] | None:
    """The checkpoint, if it can be read and holds what a resume needs; needs a prepared Ultralytics."""
    # Heavy, and must come after the environment is prepared.
    from ultralytics.nn.tasks import torch_safe_load

    if not path.is_file():
        return None
    try:
        checkpoint, _ = torch_safe_load(str(path))
    except (RuntimeError, TypeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError):
        return None
    usable = isinstance(checkpoint, dict) and checkpoint.get("epoch", -1) >= 0 and checkpoint.get("optimizer")
    return checkpoint if usable else None


def recover(folder: Path) -> tuple[Path, int] | None:
    """Put the folder back to the end of the last epoch whose checkpoint can be read.

    Returns the checkpoint and how many epochs are finished, or None when no epoch is.
    """
    last = folder / "weights" / "last.pt"
    checkpoint = load_resumable(last)
    if checkpoint is None:
        checkpoint = load_resumable(previous_file(last))
        if checkpoint is None:
            return None
        shutil.copyfile(previous_file(last), last)
    if checkpoint["train_metrics"].get("fitness") == checkpoint["best_fitness"]:
        shutil.copyfile(last, last.with_name("best.pt"))  # the library writes best.pt second: it may be missing
    epochs = int(checkpoint["epoch"]) + 1
    keep_rows(folder / "results.csv", epochs)
    return last, epochs


def keep_rows(results: Path, epochs: int) -> None:
    """Drop rows of epochs without a checkpoint, and a row that was cut off: those epochs come again."""
    if not results.is_file():
        return
    with open(results, encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    whole = [row for row in rows if len(row) == len(header) and row[0].strip().isdigit() and int(row[0]) <= epochs]
    partial = results.with_suffix(".part")
    partial.write_text("".join(",".join(row) + "\n" for row in [header, *whole]), encoding="utf-8")
    os.replace(partial, results)


def start_over(folder: Path) -> None:
    """Nothing of an earlier attempt may be mistaken for this one's."""
    for name in (f"{WORK}/previous", f"{WORK}/complete", f"{WORK}/exact", "weights"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / STATE_NAME, folder / "results.csv"):
        path.unlink(missing_ok=True)
