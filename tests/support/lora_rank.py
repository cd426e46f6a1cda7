"""A rank as specrun/training/lora/rank.py, that dies, fails or lacks memory: `python lora_rank.py JOB`.

DIE_RANK=n: it is killed in its third step. FAIL_RANK=n: it raises there. OOM_RANK=n with OOM_ABOVE=m: that rank is out
of memory above m images at a time. GRADIENTS=file: the first rank writes there what each step went by.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from specrun.training.lora import rank
from specrun.training.lora.losses import Losses
from specrun.training.lora.trainer import Training


def noting_gradients(path: Path) -> Any:
    """A method in the place of Training._apply_gradients, which steps as ever."""
    whole, noted = Training._apply_gradients, []

    def apply(self: Training) -> None:
        noted.append([parameter.grad.clone() for parameter in self.parameters if parameter.grad is not None])
        if self.crew.leads:
            torch.save(noted, path)
        whole(self)

    return apply


def main() -> int:
    own = os.environ["RANK"]
    whole = Losses.of

    def of(self: Losses, records: Any, numbers: Any) -> torch.Tensor:
        third = numbers[0][1] >= 2
        if third and os.environ.get("DIE_RANK") == own:
            print("the last words of this rank", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if third and os.environ.get("FAIL_RANK") == own:
            raise ValueError("a wrong turn")
        if os.environ.get("OOM_RANK") == own and len(records) > int(os.environ["OOM_ABOVE"]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return whole(self, records, numbers)

    Losses.of = of  # type: ignore[method-assign]
    if path := os.environ.get("GRADIENTS"):
        Training._apply_gradients = noting_gradients(Path(path))  # type: ignore[method-assign]
    return rank.main(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
