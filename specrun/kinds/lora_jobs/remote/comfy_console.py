"""Loss and steps of a training at a ComfyUI server, read off what the server prints.

Its websocket tells no loss, and servers of 2025 no step of a training either. The bar in the console has both:
`Training LoRA:  33%|███▎      | 1/3 [01:37<03:14, 97.01s/it, loss=0.2901]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from specrun.clients.comfyui import Comfy
from specrun.errors import NodeError, TransientError
from specrun.kinds.lora_jobs.remote.finished import Job
from specrun.model.work import Context

_BAR = re.compile(r"Training LoRA:.*?(\d+)/(\d+) \[.*?loss=([0-9.]+(?:e[+-]?\d+)?|nan|inf)")


class Console:
    """Looked at while the job runs. A server that does not show its console is asked once."""

    def __init__(self, comfy: Comfy, ctx: Context, job: Job, steps: int) -> None:
        self._comfy, self._ctx, self._job, self._steps = comfy, ctx, job, steps
        self._rounds = steps * job.spec.gradient_accumulation
        self._shown = True
        self._since: str | None = None
        self._round = 0

    def look(self) -> None:
        if not self._shown:
            return
        try:
            lines = self._comfy.console()
        except TransientError:
            return
        except NodeError:
            self._shown = False
            return
        if self._since is None:  # what was printed before is of other jobs
            self._since = lines[-1][0] if lines else ""
            return
        if told := last_bar([text for time, text in lines if time > self._since], self._rounds):
            self._tell(*told)

    def _tell(self, rounds: int, loss: float) -> None:
        if rounds <= self._round:
            return
        self._round = rounds
        step = rounds * self._steps // self._rounds
        self._ctx.progress(step, self._steps, "steps", "running")
        self._ctx.metric("train/loss", step, loss)
        self._job.losses.append((step, loss))


def last_bar(lines: Sequence[str], rounds: int) -> tuple[int, float] | None:
    """Rounds done and their loss; rounds: of the whole training, by which it is known from others."""
    for line in reversed(lines):
        found = _BAR.search(line)
        if found and int(found[2]) == rounds:
            return int(found[1]), float(found[3])
    return None
