"""Training on several GPUs: one process a GPU, each with the library's own loop; see specrun/training/ranks.py.

The library's own launch was rejected: it deletes the folder that it trains into, and callbacks reach its ranks only as
pickles.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from specrun.errors import OutOfMemory
from specrun.model.work import Context
from specrun.training.ranks import Program, prepare, read_json, run_ranks
from specrun.training.ultralytics.checkpoints import WORK, TrainingState, load_state
from specrun.training.ultralytics.epochs import Training, memory_error

PROGRAM: Program = ("-m", "specrun.training.ultralytics.rank")


def run_epochs_in_ranks(
    training: Training, state: TrainingState, checkpoint: Path | None, ctx: Context, program: Program = PROGRAM
) -> dict[str, Any]:
    """As epochs.run_epochs; the state on disk is the ranks' when it returns or raises."""
    if state.batch is None and training.automatic_batch:
        state.batch = _batch_by_probing(training, state, checkpoint, ctx, program)
    folder = _prepare(training, state, checkpoint)
    try:
        run_ranks(folder, training.gpus, ctx, program, threads=max(1, ctx.cpus // training.gpus))
    except OutOfMemory as error:
        raise memory_error(training, load_state(training.folder) or state) from error
    return read_json(folder / "result.json")


def _batch_by_probing(
    training: Training, state: TrainingState, checkpoint: Path | None, ctx: Context, program: Program
) -> int:
    """The library's AutoBatch knows one GPU only: what fits there, times the GPUs."""
    folder = _prepare(training, state, checkpoint, probe=True)
    run_ranks(folder, 1, ctx, program, threads=max(1, ctx.cpus))
    batch = int(read_json(folder / "result.json")["batch"]) * training.gpus
    ctx.log(f"batch: auto is {batch}, for {training.gpus} GPUs")
    return batch


def _prepare(training: Training, state: TrainingState, checkpoint: Path | None, *, probe: bool = False) -> Path:
    job = {
        "training": {**asdict(training), "data": str(training.data), "folder": str(training.folder)},
        "state": asdict(state),
        "checkpoint": str(checkpoint) if checkpoint else None,
        "probe": probe,
    }
    return prepare(training.folder / WORK / "ranks", job)
