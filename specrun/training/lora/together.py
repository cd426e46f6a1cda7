"""A LoRA training in this process, or in one process a GPU."""

from __future__ import annotations

import pickle
import shutil

from specrun.model.work import Context
from specrun.training import ranks
from specrun.training.lora.loop import train
from specrun.training.lora.trained import JOB_NAME, TRAINED_NAME, Trained, load_trained, trained_by
from specrun.training.lora.trainer import Job

PROGRAM: ranks.Program = ("-m", "specrun.training.lora.rank")
_FOLDER = ".ranks"


def train_together(job: Job, ctx: Context, program: ranks.Program = PROGRAM) -> Trained:
    """To the end. Raises StopRequested (a checkpoint stays), OutOfMemory, FormatError, NodeError."""
    if job.ranks == 1:
        return trained_by(train(job, ctx))
    folder = ranks.prepare(job.folder / _FOLDER, {})
    # A pickle, since records carry masks and the spec belongs to a layer above: both sides are this very program.
    (folder / JOB_NAME).write_bytes(pickle.dumps(job))
    ranks.run_ranks(folder, job.ranks, ctx, program, threads=max(1, ctx.cpus // job.ranks), stops_itself=True)
    found = load_trained(folder / TRAINED_NAME)
    shutil.rmtree(folder)
    return found
