"""One node as every view shows it, folded from the events of a run."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from specrun.model.address import Address
from specrun.model.digest import Json
from specrun.model.plan import Action, PlannedNode
from specrun.views.pace import Pace, blend, overall_fraction, steps_of
from specrun.views.series import Series

MAX_LOG_LINES = 200
"""A node keeps the end of its log only; the whole of it is on disk."""
MAX_METRICS = 256
MAX_ARTIFACTS = 500


class NodeState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    DONE = "done"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    STOPPED = "stopped"
    """By a person or with the run; its work may be taken up again."""
    SKIPPED = "skipped"

    @property
    def sign(self) -> str:
        return _SIGNS[self]

    @property
    def style(self) -> str:
        """A style of views.paint, of the terminal's sixteen colours."""
        return _STYLES[self]

    @property
    def settled(self) -> bool:
        """Nothing more happens to it in this run."""
        return self not in (NodeState.QUEUED, NodeState.RUNNING, NodeState.RETRYING)


_SIGNS = {
    NodeState.QUEUED: "○",
    NodeState.RUNNING: "●",
    NodeState.RETRYING: "↻",
    NodeState.WAITING: "⏸",
    NodeState.DONE: "✔",
    NodeState.UNCHANGED: "=",
    NodeState.FAILED: "✖",
    NodeState.STOPPED: "■",
    NodeState.SKIPPED: "·",
}
_STYLES = {
    NodeState.QUEUED: "dim",
    NodeState.RUNNING: "cyan",
    NodeState.RETRYING: "yellow",
    NodeState.WAITING: "blue",
    NodeState.DONE: "green",
    NodeState.UNCHANGED: "dim",
    NodeState.FAILED: "red",
    NodeState.STOPPED: "yellow",
    NodeState.SKIPPED: "dim",
}


@dataclass(slots=True)
class ProgressView:
    """fraction: of the whole node, 0 to 1, which never falls; None while it cannot be known.
    part: done and total are of the phase alone."""

    done: float = 0.0
    total: float | None = None
    unit: str = ""
    phase: str = ""
    fraction: float | None = None
    part: bool = False

    @property
    def percent(self) -> str:
        """Of the whole node; not 100 before it is done. "": not known."""
        return f"{min(99, int(self.fraction * 100 + 1e-6))}%" if self.fraction is not None else ""

    @property
    def said(self) -> str:
        """The phase, and how far it is where that is no measure of the whole: `encoding pictures 3/17`."""
        if self.total and self.part and steps_of(None, "", self.phase) is None:
            return f"{self.phase} {self.done:,.0f}/{self.total:,.0f}".lstrip()
        if self.phase or self.fraction is not None or not self.done:
            return self.phase
        return f"{self.done:,.0f} {self.unit}".rstrip()


@dataclass(slots=True)
class MadeArtifact:
    name: str
    type: str
    place: str
    size_bytes: int | None = None


@dataclass(slots=True, repr=False)
class NodeView:
    """expected_s: what it will take as far as anyone knew beforehand. log_count: lines seen so far.
    Times are seconds since the epoch; all text is cleaned."""

    address: Address
    planned: PlannedNode | None = None
    state: NodeState = NodeState.QUEUED
    expected_s: float | None = None
    waits_for: str = ""
    attempt: int = 1
    resumed: bool = False
    worker: str = ""
    pid: int = 0
    gpus: tuple[int, ...] = ()
    log_path: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    duration_s: float | None = None
    earlier_s: float = 0.0
    progress: ProgressView = field(default_factory=ProgressView)
    metrics: dict[str, Series] = field(default_factory=dict)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_LOG_LINES))
    log_count: int = 0
    artifacts: dict[str, MadeArtifact] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folder: str = ""
    digest: str = ""
    reason: str = ""
    """Why it was skipped, or why it is tried again."""
    missing: tuple[str, ...] = ()
    approval: bool = False
    cause: str = ""
    hint: str = ""
    last_lines: tuple[str, ...] = ()
    exit_code: int = 0
    retry_at: float | None = None
    dropped: bool = False
    """No longer part of the plan; shown until it has ended."""
    in_run: bool = True
    """The run looks at it, or did; not so what was up to date, waited or was disabled from the start."""
    version: int = 0
    """Grows with every event about this node."""
    pace: Pace = field(default_factory=Pace)

    def __repr__(self) -> str:
        """Short: a crash report shows many of them."""
        return f"<NodeView {self.address.text} {self.state}>"

    @property
    def sign(self) -> str:
        return self.state.sign

    @property
    def interrupted(self) -> bool:
        return self.state is NodeState.STOPPED

    @property
    def output(self) -> str:
        """The folder of what the run made or found up to date; "" when there is none, or nobody knows where."""
        made = self.state in (NodeState.DONE, NodeState.UNCHANGED)
        return self.folder if made and self.folder.startswith("/") else ""

    @property
    def action(self) -> Action | None:
        return self.planned.action if self.planned else None

    @property
    def waiting_for(self) -> str:
        return waiting_text(self.missing, approval=self.approval)

    def elapsed(self, now: float) -> float | None:
        """Seconds of the current or the last attempt; None: never started."""
        if self.duration_s is not None:
            return self.duration_s
        if self.started_at is None:
            return None
        return max(0.0, (self.ended_at if self.ended_at is not None else now) - self.started_at)

    def remaining(self, now: float) -> float | None:
        """Seconds left: 0 when settled, None when nobody can know."""
        if self.state.settled:
            return 0.0
        if self.state is not NodeState.RUNNING:
            return self.expected_s
        fraction = self.progress.fraction
        # What comes after the last step (saving, exporting) has no measure.
        measured = self.pace.remaining(now) if fraction is not None and fraction < 1 else None
        left = blend(self.elapsed(now) or 0.0, fraction, measured or None, self.expected_s)
        return left or None

    def report_progress(self, time: float, progress: ProgressView) -> None:
        before = self.progress.fraction
        found = None if progress.part else overall_fraction(progress.done, progress.total, progress.phase)
        if found is not None and before is not None and found < before:
            # A second pass over the same things: how many there will be nobody knows.
            found, progress.part = None, True
        self.pace.report(time, found, steps_of(progress.total, progress.unit, progress.phase))
        progress.fraction = before if found is None else found
        self.progress = progress


def waiting_text(missing: Sequence[str], *, approval: bool = False) -> str:
    """Whom or what a waiting node waits for, without the single things that are owed."""
    if approval:
        return "needs approval (--yes): it writes outside this machine"
    if missing and all(line.startswith("waits for ") for line in missing):
        return ", ".join(missing)
    return "waits for people"
