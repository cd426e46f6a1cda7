"""What is remembered of a job on another machine, so that a run after a crash finds it and submits none again.

Remembered before the submission: the marker that the job will carry; after it: the job's id. A job whose marker is
remembered without an id is looked for by its marker first. A job that is done stays remembered, since its weights may
still get lost before they are published; once the published output is that job's, it counts no more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from specrun.clients.remote_job import JobState
from specrun.errors import NodeError, StopRequested, TransientError
from specrun.model.work import Context
from specrun.training.lora.finishing import DESCRIBED

_NAME = "remote_job"
_UNREACHABLE_S = 900.0
_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Remembered:
    """key: digest of all that decides the weights. place: the server's address. id: "" before it is known."""

    key: str
    place: str
    marker: str
    id: str = ""


def recall(ctx: Context) -> Remembered | None:
    """None: there is no job, or its weights are published."""
    found = ctx.recall(_NAME)
    if not isinstance(found, dict):
        return None
    values = {name: str(found.get(name, "")) for name in ("key", "place", "marker", "id")}
    if values["id"] and published(ctx).get("job") == values["id"]:
        forget(ctx)
        return None
    return Remembered(**values)


def published(ctx: Context) -> dict[str, Any]:
    """What the published output says of the job that it came from: server, job, billed_seconds; and `steps`."""
    with suppress(OSError, ValueError, TypeError):
        if ctx.previous is not None:
            told = json.loads((ctx.previous / DESCRIBED).read_text(encoding="utf-8"))
            return {**told["trained_at"], "steps": told["steps"]} if "trained_at" in told else {}
    return {}


def remember(ctx: Context, job: Remembered) -> Remembered:
    ctx.remember(_NAME, asdict(job))
    return job


def forget(ctx: Context) -> None:
    ctx.remember(_NAME, None)


def submitted_once(
    ctx: Context,
    job: Remembered,
    *,
    find: Callable[[str], str | None],
    submit: Callable[[], str],
    note: Callable[[Context, Remembered], Remembered] | None = None,
) -> Remembered:
    """The job with its id. job is noted before the submission; what has no clear answer is looked for.

    note: how it is remembered, where there are several.
    Raises TransientError: it could not be submitted, as far as the server knows; the next run looks again.
    """
    note = note or remember
    note(ctx, job)
    try:
        found = submit()
    except TransientError as error:
        ctx.log(f"{error.message}; looking whether the job was submitted")
        looked = _looked_for(ctx, job, find)
        if looked is None:
            raise
        found = looked
    return note(ctx, replace(job, id=found))


def taken_up(ctx: Context, job: Remembered, find: Callable[[str], str | None]) -> Remembered | None:
    """The remembered job with its id; None: it never arrived at the server."""
    if job.id:
        return job
    found = find(job.marker)
    return remember(ctx, replace(job, id=found)) if found is not None else None


def _looked_for(ctx: Context, job: Remembered, find: Callable[[str], str | None]) -> str | None:
    for _ in range(_LOOKS):
        try:
            found = find(job.marker)
        except TransientError:
            continue
        if found is not None:
            ctx.log(f"it was: job {found}")
            return found
    return None


class Watch:
    """Asks for a job until it ends, bears a server that cannot be reached, and keeps to the deadline."""

    def __init__(self, ctx: Context, job: Remembered, deadline_s: float, host: str) -> None:
        self._ctx, self._job, self._host, self._deadline_s = ctx, job, host, deadline_s
        self._until = time.monotonic() + deadline_s
        self._lost_since: float | None = None
        self.state: JobState | None = None

    def tell(self, state: JobState, more: str = "") -> None:
        if state is not self.state:
            self.state = state
            self._ctx.log(f"{self._host}: job {self._job.id} is {state}{more}")

    def lost(self, error: TransientError) -> None:
        """Raises TransientError: it has been away for too long."""
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        self.tell(JobState.PAUSED, f": {error.message}")
        if now - self._lost_since > min(_UNREACHABLE_S, self._deadline_s):
            hint = "The job may go on there; run again to take it up."
            raise TransientError(f"{self._host}: job {self._job.id} cannot be asked: {error.message}", hint=hint)

    def reached(self) -> None:
        self._lost_since = None

    def check_deadline(self, how_to_cancel: str) -> None:
        """Raises NodeError."""
        if time.monotonic() > self._until:
            raise NodeError(
                f"{self._host}: job {self._job.id} is still {self.state} after {self._deadline_s:,.0f} s.",
                hint=f"Run again to go on waiting, raise backend.deadline, or end it ({how_to_cancel}).",
            )


def stopped(ctx: Context, job: Remembered, on_stop: str, cancel: Callable[[], None]) -> None:
    """What becomes of the job when the run is asked to stop; called while StopRequested is on its way."""
    if on_stop == "leave":
        ctx.log(f"job {job.id} goes on; the next run takes it up")
        return
    try:
        cancel()
    except StopRequested:
        raise
    except NodeError as error:
        ctx.log(f"job {job.id} could not be cancelled: {error.message} The next run takes it up.")
        return
    ctx.log(f"job {job.id} is {JobState.CANCELLED}")
    forget(ctx)
