"""Earlier runs: a line for each, and what one of them did, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from specrun.model.plan import Action
from specrun.model.state import RunRecord
from specrun.views.facts import done_text
from specrun.views.node_view import NodeState, NodeView
from specrun.views.paint import Paint
from specrun.views.quantities import count, duration
from specrun.views.run_view import RunView
from specrun.views.text import cells, clean, pad, pad_address, wrap

LAST_LINES = 12
_STYLES = {
    "done": "green",
    "failed": "red",
    "waiting": "blue",
    "interrupted": "yellow",
    "crashed": "red",
    "running": "cyan",
}


@dataclass(frozen=True)
class PastRun:
    """status: of the record, but `crashed` where nobody finished it. took_s: None while it goes on, or unknown.
    counts: how its nodes ended, without those that it left alone; empty when its journal is gone."""

    id: str
    started_at: str
    status: str
    exit_code: int | None
    took_s: float | None
    counts: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def past_run(record: RunRecord, view: RunView, *, going_on: bool) -> PastRun:
    """view: folded from the journal, as far as there is one."""
    status = "crashed" if record.ended_at is None and not going_on else record.status
    took_s = view.duration_s
    if not view.status and record.ended_at is not None:
        took_s = (datetime.fromisoformat(record.ended_at) - datetime.fromisoformat(record.started_at)).total_seconds()
    counts = {str(state): 0 for state in NodeState}
    for node in view.to_do:
        counts[str(node.state)] += 1
    return PastRun(
        id=record.id,
        started_at=record.started_at,
        status=status,
        exit_code=record.exit_code,
        took_s=took_s,
        counts={state: amount for state, amount in counts.items() if amount},
    )


def runs_text(runs: Sequence[PastRun], *, color: bool = False) -> str:
    """A line for each, in the given order."""
    paint = Paint(color)
    took = [duration(run.took_s) if run.took_s is not None else "" for run in runs]
    id_width = max((cells(run.id) for run in runs), default=0)
    took_width = max((cells(text) for text in took), default=0)
    lines = []
    for run, time in zip(runs, took, strict=True):
        status = paint(pad(run.status, 11), _STYLES.get(run.status, ""))
        line = f"{pad(run.id, id_width)}  {local_time(run.started_at)}  {status}  {time:>{took_width}}  "
        lines.append((line + _counts_text(run.counts)).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _counts_text(counts: dict[str, int]) -> str:
    words = {"done": "made", "queued": "not started"}
    return ", ".join(f"{amount} {words.get(state, state)}" for state, amount in counts.items())


def local_time(text: str) -> str:
    """An ISO time of the state as the clock on the wall shows it: `2026-01-31 12:00`."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return clean(text)


def clock_time(seconds: float) -> str:
    """Seconds since the epoch as the clock on the wall shows them: `12:00`."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M")


def run_text(
    run: PastRun, view: RunView, *, color: bool = False, width: int = 0, run_folder: str = "", now: float = 0.0
) -> str:
    """What one run did. run_folder: stands before the paths of logs. now: seconds since the epoch."""
    paint = Paint(color)
    took = f" · {duration(run.took_s)}" if run.took_s is not None else ""
    status = paint(run.status, _STYLES.get(run.status, ""))
    head = f"{paint(clean(view.project), 'bold')} · run {run.id} · {local_time(run.started_at)} · {status}{took}"
    nodes = [n for n in view.nodes.values() if n.action not in (Action.ORPHAN, Action.NONE)]
    left = [n for n in view.nodes.values() if n.action is Action.NONE]
    lines = [head, ""]
    address_width = min(max((cells(clean(n.address.text)) for n in nodes), default=0), 44)
    for node in nodes:
        lines += _node_lines(node, paint, width, (address_width, now, run_folder))
    if left:
        lines.append(paint(f"  = {count(len(left), 'node')} up to date", "dim"))
    lines += [paint(f"  {line.text}", "yellow") for line in view.notices if line.level != "info"]
    return "\n".join(lines).rstrip() + "\n"


def _node_lines(node: NodeView, paint: Paint, width: int, layout: tuple[int, float, str]) -> list[str]:
    address_width, now, run_folder = layout
    elapsed = node.elapsed(now)
    took = duration(elapsed) if elapsed is not None else ""
    head = f"  {paint(node.sign, node.state.style)} {pad_address(clean(node.address.text), address_width)}  "
    head += f"{paint(pad(str(node.state), 9), node.state.style)} {took:>10}  "
    left = 2 + 2 + address_width + 2 + 9 + 1 + 10 + 2
    room = max(24, width - left) if width else 0
    said = [part for text in _said(node) for part in wrap(text, room)] or [""]
    lines = [(head if index == 0 else " " * left) + text for index, text in enumerate(said)]
    if node.state in (NodeState.FAILED, NodeState.STOPPED):
        lines += _failure_lines(node, paint, width, run_folder)
    return [line.rstrip() for line in lines]


def _said(node: NodeView) -> list[str]:
    """Why it ran, and what came of it."""
    reasons = [clean(reason.text) for reason in node.planned.reasons] if node.planned else []
    made = done_text(node.facts)
    texts = [", ".join(reasons)] if reasons else []
    if node.state in (NodeState.SKIPPED, NodeState.UNCHANGED) and node.reason and node.reason not in texts:
        texts.append(node.reason)
    if node.state is NodeState.WAITING:
        texts.append(node.waiting_for)
    texts += [made] if made else []
    return texts + [f"note: {note}" for note in node.notes]


def _failure_lines(node: NodeView, paint: Paint, width: int, run_folder: str) -> list[str]:
    lines = [f"      {part}" for part in wrap(node.cause, max(20, width - 6) if width else 0)]
    if node.hint:
        lines.append(f"      {paint(node.hint, 'cyan')}")
    if node.log_path:
        path = f"{run_folder.rstrip('/')}/{node.log_path}" if run_folder else node.log_path
        lines.append(f"      {paint('log', 'dim')} {clean(path)}")
    if not node.interrupted:
        lines += [f"      {paint(f'│ {line}', 'dim')}" for line in node.last_lines[-LAST_LINES:]]
    return lines


def run_json(run: PastRun, view: RunView, *, now: float) -> dict[str, Any]:
    """The same for programs: everything named."""
    return {
        "format": 1,
        "project": view.project,
        "spec": view.spec,
        **run.to_json(),
        "nodes": [_node_json(node, now) for node in view.nodes.values()],
        "notices": [{"time": line.time, "level": line.level, "text": line.text} for line in view.notices],
    }


def _node_json(node: NodeView, now: float) -> dict[str, Any]:
    return {
        "address": node.address.text,
        "action": str(node.action) if node.action else None,
        "state": str(node.state),
        "interrupted": node.interrupted,
        "took_s": node.elapsed(now),
        "attempt": node.attempt,
        "reasons": [reason.text for reason in node.planned.reasons] if node.planned else [],
        "reason": node.reason,
        "missing": list(node.missing),
        "cause": node.cause,
        "hint": node.hint,
        "log": node.log_path,
        "last_lines": list(node.last_lines),
        "folder": node.folder,
        "digest": node.digest,
        "facts": dict(node.facts),
        "notes": list(node.notes),
    }
