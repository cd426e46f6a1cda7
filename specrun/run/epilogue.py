"""The end of a run whose journal has none: its supervisor was killed, or the journal was cut."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

from specrun.errors import ExitCode
from specrun.model.event import (
    Event,
    NodeEvent,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Notice,
    RunAmended,
    RunFinished,
    RunStarted,
)
from specrun.model.plan import Plan, PlannedNode
from specrun.model.state import RunRecord
from specrun.run.tail import last_lines

LOG_NAME = "supervisor.log"
"""What a supervisor without a terminal says, in the run's folder."""


class LastWords:
    """How the nodes of a run stand by the events told so far. began_at: seconds since the epoch; None: not told."""

    def __init__(self) -> None:
        self.began_at: float | None = None
        self._nodes: dict[str, str] = {}

    def tell(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.began_at = event.time
                self._nodes = {str(node.address): "skipped" for node in _planned(event) if node.action.runs}
            case RunAmended():
                declared = {str(node.address) for node in _planned(event)}
                kept = {address: how for address, how in self._nodes.items() if address in declared}
                self._nodes = {**kept, **dict.fromkeys(event.queued, "skipped")}
            case NodeEvent():
                self._note(event)
            case _:
                pass

    def _note(self, event: NodeEvent) -> None:
        match event:
            case NodeStarted() | NodeRetrying():
                how = "stopped"
            case NodeFinished():
                how = "finished"
            case NodeFailed():
                how = "stopped" if event.interrupted else "failed"
            case NodeSkipped():
                how = "unchanged" if event.unchanged else "skipped"
            case NodeWaiting():
                how = "waiting"
            case NodeQueued():
                how = "skipped"
            case _:
                return
        self._nodes[event.address] = how

    def counts(self) -> dict[str, int]:
        """As RunFinished names them: what ran is stopped, what waited for its turn is skipped."""
        return dict(Counter(self._nodes.values()))


def epilogue(run_folder: Path, words: LastWords, record: RunRecord | None, *, now: float) -> tuple[Event, RunFinished]:
    """What to tell in the place of the missing end.

    record: what the state knows of the run, None: nothing. now: when it is known to have ended, seconds since the
    epoch.
    """
    run, counts = run_folder.name, words.counts()
    if record is not None and record.ended_at is not None:
        began, ended = _seconds(record.started_at), _seconds(record.ended_at)
        text = f"the end of this run's journal is missing; it ended as {record.status}"
        return (
            Notice(run=run, time=ended, text=text, level="warning"),
            RunFinished(
                run=run,
                time=ended,
                status=record.status,
                exit_code=ExitCode.OUR_FAULT if record.exit_code is None else record.exit_code,
                duration_s=ended - began,
                **counts,
            ),
        )
    said = " ".join(last_lines(run_folder / LOG_NAME, 3)) or "it left no message"
    began = now if words.began_at is None else words.began_at
    return (
        Notice(run=run, time=now, text=f"the supervisor ended without finishing the run: {said}", level="error"),
        RunFinished(
            run=run,
            time=now,
            status="crashed",
            exit_code=ExitCode.OUR_FAULT,
            duration_s=max(0.0, now - began),
            **counts,
        ),
    )


def _planned(event: RunStarted | RunAmended) -> tuple[PlannedNode, ...]:
    try:
        return Plan.from_json(event.plan).nodes
    except (KeyError, TypeError, ValueError):
        return ()


def _seconds(iso_time: str) -> float:
    return datetime.fromisoformat(iso_time).timestamp()
