"""Out of memory: how it is recognised, what the error says, and going on with smaller batches.

Half the batch and twice the accumulation leave the effective batch as it was: as many images go into one step of
the optimizer as before, only fewer at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from specrun.errors import OutOfMemory

OnOutOfMemory = Literal["fail", "halve"]
"""fail: say which setting to change. halve: go on with half the batch and twice the accumulation."""

AUTO = "auto"
"""As a batch: the largest that fits on the GPU."""
CPU_BATCH = 16
"""What `auto` means where no GPU says how much fits."""

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "unable to find an engine",
)


@dataclass(frozen=True, slots=True)
class Batch:
    """size: images at a time, over all GPUs. accumulation: batches for each step of the optimizer."""

    size: int
    accumulation: int = 1

    @property
    def effective(self) -> int:
        return self.size * self.accumulation

    def halved(self, gpus: int = 1) -> Batch | None:
        """None: there is nothing left to halve. Each GPU keeps at least one image.

        Of an odd size the smaller half is taken, and the effective batch is met as nearly as whole batches can.
        """
        size = self.size // 2 // gpus * gpus
        return Batch(size, max(round(self.effective / size), 1)) if size else None


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA, MPS or main memory, by type or by what the message says."""
    if isinstance(error, (MemoryError, OutOfMemory)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words.lower() in text for words in _WORDS)


def out_of_memory(place: str, batch: Batch | None, *, setting: str, others: Sequence[str] = ()) -> OutOfMemory:
    """The error that names what to change.

    place: `GPU 0`, `the CPU`. setting: the batch's path in the spec. others: what else would help, in words.
    """
    if batch is None or batch.size < 2:
        first = others[0] if others else f"Lower {setting}"
        hint = ", or ".join([first[:1].upper() + first[1:], *others[1:]])
    else:
        advice = f"Lower {setting} ({batch.size} → {batch.size // 2}), or write on_oom: halve"
        hint = ", or ".join([advice, *others])
    size = f" with a batch of {batch.size}" if batch else ""
    return OutOfMemory(f"out of memory on {place}{size}.", hint=hint + ".")
