"""One rank of a LoRA training on several GPUs: `python -m specrun.training.lora.rank JOB`; see training.ranks."""

from __future__ import annotations

import os
import pickle
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from specrun.errors import StopRequested
from specrun.model.artifact import Artifact
from specrun.training.lora.crew import Crew
from specrun.training.lora.loop import train
from specrun.training.lora.trained import JOB_NAME, TRAINED_NAME, save_trained, trained_by
from specrun.training.lora.trainer import Job
from specrun.training.quiet_bitsandbytes import quiet_bitsandbytes
from specrun.training.quiet_diffusers import quiet_diffusers
from specrun.training.ranks import RankReport, carry_out

_TIMEOUT = timedelta(days=1)
"""Others wait while the leader makes pictures. A rank that died is seen by the process that started them."""


class _Report(RankReport):
    """When a stop is asked for, the leader saves, and the others end with it."""

    def artifact(self, artifact: Artifact) -> None:
        """Announced when the training has ended."""

    def check_stop(self) -> None:
        if self._leads:
            super().check_stop()


def main(job: Path) -> int:
    return carry_out(job, lambda _, __: _work(job.parent))


def _work(folder: Path) -> dict[str, Any]:
    crew = Crew(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    # Of our own worker, on this machine, a moment ago.
    job: Job = pickle.loads((folder / JOB_NAME).read_bytes())
    quiet_bitsandbytes()
    quiet_diffusers()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if job.on_gpu:
        torch.cuda.set_device(crew.rank)
    report = _Report(folder, leads=crew.leads)
    distributed.init_process_group("nccl" if job.on_gpu else "gloo", timeout=_TIMEOUT)
    try:
        training = train(job, report, crew)
    except RuntimeError as error:
        if crew.leads or not report.stop_requested():
            raise
        raise StopRequested("stopped because the run was asked to stop") from error
    if crew.leads:
        save_trained(trained_by(training), folder / TRAINED_NAME)
    distributed.destroy_process_group()
    return {}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
