"""`specrun status`: one screen of what is where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from specrun.model.digest import Json
from specrun.model.plan import Action
from specrun.views.facts import made_text, scores
from specrun.views.paint import ACTION_STYLES, Paint
from specrun.views.quantities import count, duration, number, size, time_left
from specrun.views.run_text import PastRun, local_time, runs_text
from specrun.views.text import cells, clean, clip_middle, pad, pad_address, wrap

MAX_SCORES = 3
MAX_MISSING = 8
_PLACE = 24
"""Columns that a folder needs to be known by."""
_WORDS = {
    Action.CREATE: "not made",
    Action.UPDATE: "stale",
    Action.RESUME: "unfinished",
    Action.NONE: "up to date",
    Action.UNKNOWN: "perhaps stale",
    Action.WAIT: "waits",
    Action.ORPHAN: "not in spec",
    Action.DISABLED: "disabled",
}


@dataclass(frozen=True)
class NodeStatus:
    """reasons: why it is not up to date. made_at, run, took_s, folder, size_bytes: None or "" when it was never made;
    folder as a person would type it. accepted: the reason given to `specrun accept`."""

    address: str
    kind: str
    action: Action
    reasons: tuple[str, ...] = ()
    made_at: str | None = None
    run: str = ""
    took_s: float | None = None
    folder: str = ""
    size_bytes: int | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    accepted: str | None = None
    running: bool = False

    @property
    def state(self) -> str:
        """In a word or two."""
        return "running" if self.running else _WORDS[self.action]


@dataclass(frozen=True)
class RunningNow:
    """Who holds the project. run: "" when it is no run (`specrun prune`). eta_s: None when nobody can know."""

    operation: str
    who: str
    pid: int
    host: str
    since: str
    run: str = ""
    done: int = 0
    total: int = 0
    nodes: tuple[str, ...] = ()
    eta_s: float | None = None
    eta_complete: bool = False


@dataclass(frozen=True)
class DiskUse:
    """Bytes. outputs: what is made now. earlier: kept for a rollback. unfinished: staging and trash."""

    outputs: int
    earlier: int
    unfinished: int
    state: int
    free: int


@dataclass(frozen=True)
class ProjectStatus:
    project: str
    spec: str
    nodes: tuple[NodeStatus, ...]
    last_run: PastRun | None
    running: RunningNow | None
    disk: DiskUse

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        for node, written in zip(self.nodes, data["nodes"], strict=True):
            written["state"] = node.state
            written["scores"] = scores(node.facts)
        return {"format": 1, **data}


def status_text(status: ProjectStatus, *, color: bool = False, width: int = 0) -> str:
    """The whole screen, ending in a line end."""
    paint = Paint(color)
    blocks = [
        [f"{paint(clean(status.project), 'bold')} · {clean(status.spec)}", *_run_lines(status, paint)],
        _table(status.nodes, paint, width),
        _waiting(status.nodes, paint, width),
        [_disk(status.disk)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _run_lines(status: ProjectStatus, paint: Paint) -> list[str]:
    lines = []
    if status.running is not None:
        lines.append(f"{paint('running', 'cyan bold')}   {_running_text(status.running)}")
    if status.last_run is not None and (status.running is None or status.running.run != status.last_run.id):
        lines.append(f"{paint('last run', 'dim')}  {runs_text([status.last_run], color=paint.color).rstrip()}")
    elif status.last_run is None:
        lines.append(paint("never applied", "dim"))
    return lines


def _running_text(running: RunningNow) -> str:
    who = f"{clean(running.operation)} by {clean(running.who)}, process {running.pid} on {clean(running.host)}"
    parts = [f"{who}, since {local_time(running.since)}"]
    if running.total:
        parts.append(f"{running.done} of {running.total} done")
    if running.nodes:
        more = f" and {len(running.nodes) - 3} more" if len(running.nodes) > 3 else ""
        parts.append(", ".join(clean(node) for node in running.nodes[:3]) + more)
    if running.eta_s is not None:
        parts.append(time_left(running.eta_s, complete=running.eta_complete))
    return " · ".join(parts)


def _table(nodes: Sequence[NodeStatus], paint: Paint, width: int) -> list[str]:
    """Sign, address, state, when made and how long it took, size and place, what it holds. Where that does not fit on a
    line, what is long stands below; numbers are never cut."""
    if not nodes:
        return []
    rows = [_row(node) for node in nodes]
    columns = [max(cells(row[column]) for row in rows) for column in range(4)]
    narrow = bool(width) and 4 + sum(columns) + 8 + _PLACE > width
    if narrow:
        columns[0] = min(columns[0], max(24, width - 4 - columns[1] - columns[3] - 4))
    lines = []
    for node, row in zip(nodes, rows, strict=True):
        sign, style = ("●", "cyan") if node.running else (node.action.sign, ACTION_STYLES[node.action])
        head = f"  {paint(sign, style)} {pad_address(row[0], columns[0])}  "
        head += f"{paint(pad(row[1], columns[1]), style)}  "
        size_text = f"{row[3]:>{columns[3]}}"
        if narrow:
            lines.append((head + size_text).rstrip())
            told = [" · ".join(text for text in (row[2], row[4]) if text)]
        else:
            told = []
            room = width - 4 - sum(columns) - 8 if width else 0
            place = clip_middle(row[4], room) if room else row[4]
            head += f"{paint(pad(row[2], columns[2]), 'dim')}  {size_text}  "
            lines.append((head + paint(place, "cyan")).rstrip())
        told = [text for text in (*told, row[5], _reasons(node)) if text]
        for text in told:
            below = max(24, width - 6) if width else 0
            lines += [f"      {paint(part, 'dim')}" for part in wrap(text, below)]
    return lines


def _row(node: NodeStatus) -> tuple[str, ...]:
    made = local_time(node.made_at) if node.made_at else ""
    if node.took_s:
        made += f" in {duration(node.took_s)}"
    bytes_text = size(node.size_bytes) if node.size_bytes is not None else ""
    found = list(scores(node.facts).items())[:MAX_SCORES]
    score = ", ".join(f"{name} {number(value)}" for name, value in found)
    told = " · ".join(text for text in (made_text(node.facts), score) if text)
    if node.accepted:
        told = " · ".join(text for text in (told, f"accepted: {clean(node.accepted)}") if text)
    return clean(node.address), node.state, made, bytes_text, clean(node.folder), told


def _reasons(node: NodeStatus) -> str:
    """Not of what people owe: that has a place of its own."""
    if node.action in (Action.NONE, Action.WAIT, Action.ORPHAN, Action.CREATE):
        return ""
    return ", ".join(clean(reason) for reason in node.reasons[:3])


def _waiting(nodes: Sequence[NodeStatus], paint: Paint, width: int) -> list[str]:
    lines = []
    for node in nodes:
        if node.action is not Action.WAIT:
            continue
        lines.append(f"  {paint(f'{node.action.sign} {clean(node.address)}', 'blue')} waits for:")
        for text in node.reasons[:MAX_MISSING]:
            owed = clean(text).removeprefix("waits for ")
            lines += [f"      {part}" for part in wrap(owed, max(24, width - 6) if width else 0)]
        if len(node.reasons) > MAX_MISSING:
            lines.append(f"      and {count(len(node.reasons) - MAX_MISSING, 'more thing')}")
    return lines


def _disk(disk: DiskUse) -> str:
    parts = [(disk.outputs, "outputs"), (disk.earlier, "earlier outputs"), (disk.unfinished, "unfinished")]
    said = [f"{size(amount)} {what}" for amount, what in parts if amount] + [f"{size(disk.state)} in .specrun"]
    return f"disk: {', '.join(said)}; {size(disk.free)} free"
