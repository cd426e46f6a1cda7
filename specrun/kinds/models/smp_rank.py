"""One rank of a training of kind smp: `python -m specrun.kinds.models.smp_rank JOB`; see specrun/training/ranks.py.

A job without a state asks for the largest batch that fits.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from specrun.kinds.models.smp_job import job_from_json, training_of
from specrun.training.ranks import RankReport, carry_out
from specrun.training.smp.checkpoints import TrainingState
from specrun.training.smp.fitting import fit, largest_batch


def work(job: dict[str, Any], report: RankReport) -> dict[str, Any]:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    training = training_of(job_from_json(job), report.log)
    if job["state"] is None:
        return {"batch": largest_batch(training)}
    fit(training, TrainingState(**job["state"]), report, rank=int(os.environ["RANK"]))
    return {}


def main(job: Path) -> int:
    return carry_out(job, work)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
