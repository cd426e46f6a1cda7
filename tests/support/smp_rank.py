"""A rank as specrun/kinds/models/smp_rank.py, in which something goes wrong: `python -m tests.support.smp_rank JOB`.

Of the rank FAULT_RANK, in its step FAULT_STEP (counted over all attempts of the process, from 0):
FAULT=oom: out of memory, if its batch has more than one image. FAULT=die: it is killed. FAULT=kill: the whole group is.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from specrun.kinds.models import smp_rank
from specrun.training.smp.module import SmpModule


def arm(fault: str, at: int) -> None:
    step, seen = SmpModule.training_step, [0]

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if seen[0] == at:
            if fault == "kill":
                os.killpg(0, signal.SIGKILL)
            elif fault == "die":
                print("the rank is about to die", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            elif len(batch[0]) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        seen[0] += 1
        return step(self, batch, batch_idx)

    SmpModule.training_step = training_step  # type: ignore[method-assign]


if __name__ == "__main__":
    if os.environ.get("FAULT_RANK") == os.environ["RANK"]:
        arm(os.environ["FAULT"], int(os.environ["FAULT_STEP"]))
    sys.exit(smp_rank.main(Path(sys.argv[1])))
