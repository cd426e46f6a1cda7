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
from specrun.views.text import cells, clean, clip, pad, pad_middle, wrap

MAX_SCORES = 3
MAX_MISSING = 8
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
            written["state"] = _WORDS[node.action]
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
    """Sign, address, state, when made and how long it took, size and place, what it holds."""
    if not nodes:
        return []
    rows = [_row(node) for node in nodes]
    widths = [min(max(cells(row[column]) for row in rows), most) for column, most in enumerate((40, 13, 24, 9))]
    lines = []
    for node, row in zip(nodes, rows, strict=True):
        style = ACTION_STYLES[node.action]
        head = f"  {paint(node.action.sign, style)} {pad_middle(row[0], widths[0])}  "
        head += f"{paint(pad(row[1], widths[1]), style)}  "
        head += f"{paint(pad(row[2], widths[2]), 'dim')}  {' ' * (widths[3] - cells(row[3]))}{row[3]}  "
        left = 4 + sum(widths) + 8
        room = max(24, width - left) if width else 0
        place = clip(row[4], room) if room else row[4]
        lines.append((head + paint(place, "cyan")).rstrip())
        told = [text for text in (row[5], _reasons(node)) if text]
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
    return clean(node.address), _WORDS[node.action], made, bytes_text, clean(node.folder), told


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
