"""One rank of a training on several GPUs: `python -m specrun.training.ultralytics.rank JOB`.

Runs in the environment that the worker prepared; see ranks.py for the files.
"""

from __future__ import annotations

import math
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from specrun.errors import SpecrunError
from specrun.training.ultralytics.checkpoints import TrainingState
from specrun.training.ultralytics.environment import join_ultralytics
from specrun.training.ultralytics.epochs import AUTO_FRACTION, Training, library_errors, run_epochs
from specrun.training.ultralytics.ranks import RankReport, read_json, write_json


def main(job: Path) -> int:
    rank = int(os.environ["RANK"])
    folder = job.parent
    try:
        result = _carry_out(read_json(job), RankReport(folder / "reports.jsonl"))
    except Exception as error:  # the boundary of the process: the worker must learn why
        traceback.print_exc()
        expected = isinstance(error, SpecrunError)
        told = {
            "rank": rank,
            "error": type(error).__name__,
            "message": error.message if isinstance(error, SpecrunError) else f"{type(error).__name__}: {error}",
            "hint": error.hint if isinstance(error, SpecrunError) and expected else None,
        }
        write_json(folder / f"failed-{rank}.json", told)
        return 1
    if rank == 0:
        write_json(folder / "result.json", result)
    return 0


def _carry_out(job: dict[str, Any], report: RankReport) -> dict[str, Any]:
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
