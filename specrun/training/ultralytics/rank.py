"""One rank of a training on several GPUs: `python -m specrun.training.ultralytics.rank JOB`.

Runs in the environment that the worker prepared; see specrun/training/ranks.py for the files.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from specrun.training.ranks import RankReport, carry_out
from specrun.training.ultralytics.checkpoints import TrainingState
from specrun.training.ultralytics.environment import join_ultralytics
from specrun.training.ultralytics.epochs import AUTO_FRACTION, Training, library_errors, run_epochs


def main(job: Path) -> int:
    return carry_out(job, _train)


def _train(job: dict[str, Any], report: RankReport) -> dict[str, Any]:
    described = job["training"]
    training = Training(**{**described, "data": Path(described["data"]), "folder": Path(described["folder"])})
    state = TrainingState(**job["state"])
    checkpoint = Path(job["checkpoint"]) if job["checkpoint"] else None
    join_ultralytics(int(os.environ["OMP_NUM_THREADS"]))
    with library_errors(training, state):
        if job["probe"]:
            return {"batch": _probe(training, checkpoint)}
        found = run_epochs(training, state, checkpoint, report)
    return {name: float(value) for name, value in found.items() if math.isfinite(float(value))}


class _Known(Exception):
    """Leaves the library's loop before its first batch."""


def _probe(training: Training, checkpoint: Path | None) -> int:
    """What AutoBatch chooses on the first GPU."""
    from ultralytics import YOLO  # heavy, in the prepared environment

    found: list[int] = []

    def leave(trainer: Any) -> None:
        found.append(int(trainer.batch_size))
        raise _Known

    alone = replace(training, device=training.device.split(",")[0], folder=training.folder / ".work" / "probe")
    model = YOLO(str(checkpoint or training.weights), task=training.task)
    model.add_callback("on_pretrain_routine_end", leave)
    batch = training.arguments.get("batch")
    arguments = {**alone.arguments, "batch": batch if isinstance(batch, float) and batch > 0 else AUTO_FRACTION}
    try:
        places = {"data": str(alone.data), "device": alone.device, "save_dir": str(alone.folder)}
        model.train(**{**arguments, **places, "plots": False})
    except _Known:
        pass
    return found[0]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
