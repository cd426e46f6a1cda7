"""What a run leaves in the scrollback: what was made and where, the scores, what failed and why, who is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specrun.model.digest import Json
from specrun.model.plan import Action
from specrun.views.facts import change_text, made_text, scores
from specrun.views.node_view import NodeState, NodeView
from specrun.views.paint import Paint
from specrun.views.quantities import count, duration, number
from specrun.views.run_view import RunView
from specrun.views.text import cells, clean, pad, pad_address, wrap

MAX_MADE = 40
MAX_SCORES = 8
MAX_MISSING = 12
LAST_LINES = 12

_HEADLINES = {
    "done": ("done", "green bold"),
    "failed": ("failed", "red bold"),
    "waiting": ("waiting for people", "blue bold"),
    "interrupted": ("interrupted", "yellow bold"),
    "crashed": ("crashed", "red bold"),
    "running": ("still running", "cyan bold"),
    "stopping": ("stopping", "yellow bold"),
}


def summary_text(
    view: RunView,
    *,
    color: bool = False,
    width: int = 0,
    previous: Mapping[str, Mapping[str, Json]] | None = None,
    run_folder: str = "",
    base: str = "",
    now: float | None = None,
) -> str:
    """The whole text, ending in a line end.

    previous: address → facts of last time, for comparing scores. run_folder: stands before the paths
    of logs. base: folders below it are shown relative to it. now: seconds since the epoch, when the run still goes on.
    """
    paint = Paint(color)
    nodes = [node for node in view.nodes.values() if node.action is not Action.ORPHAN]
    blocks = [
        [_headline(view, paint, now)],
        _made_block([n for n in nodes if n.state is NodeState.DONE], paint, width, base),
        _scores_block(nodes, previous or {}, paint),
        _failed_block([n for n in nodes if n.state in (NodeState.FAILED, NodeState.STOPPED)], paint, width, run_folder),
        _skipped_block([n for n in nodes if n.state is NodeState.SKIPPED and n.action is not Action.DISABLED], paint),
        _waiting_block([n for n in nodes if n.state is NodeState.WAITING], paint, width),
        [paint(line.text, "yellow") for line in view.notices if line.level != "info"],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _headline(view: RunView, paint: Paint, now: float | None) -> str:
    words, style = _HEADLINES.get(view.status, (view.status or "not started", "bold"))
    counts = view.counts()
    parts = [
        (counts[NodeState.DONE], "made", "green"),
        (counts[NodeState.UNCHANGED], "up to date", ""),
        (counts[NodeState.FAILED], "failed", "red"),
        (counts[NodeState.STOPPED], "stopped", "yellow"),
        (counts[NodeState.SKIPPED], "skipped", ""),
        (counts[NodeState.WAITING], "waiting", "blue"),
        (counts[NodeState.RUNNING] + counts[NodeState.RETRYING], "running", "cyan"),
        (counts[NodeState.QUEUED], "not started", ""),
    ]
    if view.status == "done" and not any(counts[state] for state in (NodeState.DONE, NodeState.STOPPED)):
        return f"{paint(view.project, 'bold')} · nothing to do, everything is up to date"
    said = ", ".join(paint(f"{amount} {word}", role) for amount, word, role in parts if amount)
    took = duration(view.elapsed(now if now is not None else view.started_at or 0.0))
    return f"{paint(view.project, 'bold')} · {paint(words, style)} after {took} · {said}"


def _made_block(nodes: Sequence[NodeView], paint: Paint, width: int, base: str) -> list[str]:
    if not nodes:
        return []
    shown = nodes[:MAX_MADE]
    took = [duration(node.elapsed(0.0) or 0.0) for node in shown]
    made = [made_text(node.facts) for node in shown]
    address_width = min(max(cells(node.address.text) for node in shown), 44)
    took_width = max(map(cells, took))
    left = 4 + address_width + 2 + took_width + 2
    room = max(24, width - left) if width else 0
    folder_at = max((cells(text) for text in made if not width or cells(text) < room * 0.6), default=0)
    lines: list[str] = []
    for node, time, text in zip(shown, took, made, strict=True):
        head = f"  {paint(node.sign, 'green')} {pad_address(clean(node.address.text), address_width)}  "
        head += paint(" " * (took_width - cells(time)) + time, "dim") + "  "
        if node.earlier_s >= 1:
            text = f"{text}, " if text else ""
            text += f"{duration(node.earlier_s)} of the time before it was interrupted"
        body = _beside_or_below(text, _relative(node.folder, base), folder_at, room, paint)
        body += [paint(part, "yellow") for note in node.notes for part in wrap(f"note: {note}", room)]
        lines += [(head if index == 0 else " " * left) + line for index, line in enumerate(body)]
    if len(nodes) > len(shown):
        lines.append(paint(f"    and {len(nodes) - len(shown)} more", "dim"))
    return [line.rstrip() for line in lines]


def _beside_or_below(text: str, folder: str, folder_at: int, room: int, paint: Paint) -> list[str]:
    """What was made and where: in two columns where they fit, else one below the other."""
    painted = paint(folder, "cyan")
    used = max(folder_at, cells(text))
    if not room or used + 2 + cells(folder) <= room:
        return [pad(text, used) + ("  " if used else "") + painted]
    return [*(wrap(text, room) if text else []), *([painted] if folder else [])]


def _relative(folder: str, base: str) -> str:
    inside = base and folder.startswith(base.rstrip("/") + "/")
    return folder[len(base.rstrip("/")) + 1 :] if inside else folder


def _scores_block(nodes: Sequence[NodeView], previous: Mapping[str, Mapping[str, Json]], paint: Paint) -> list[str]:
    """Only of nodes made now: an untouched model's score is no news."""
    rows: list[tuple[str, str, str, tuple[str, str]]] = []
    for node in nodes:
        if node.state is not NodeState.DONE:
            continue
        found = scores(node.facts)
        before = scores(previous.get(str(node.address), {}))
        for index, (name, value) in enumerate(list(found.items())[:MAX_SCORES]):
            address = clean(node.address.text) if index == 0 else ""
            rows.append((address, name, number(value), change_text(name, value, before.get(name))))
        if len(found) > MAX_SCORES:
            rows.append(("", f"and {len(found) - MAX_SCORES} more", "", ("", "")))
    if not rows:
        return []
    address_width = max(cells(row[0]) for row in rows)
    name_width = max(cells(row[1]) for row in rows)
    value_width = max(cells(row[2]) for row in rows)
    lines = [paint("Scores", "bold")]
    for address, name, shown, (change, style) in rows:
        line = f"  {pad(address, address_width)}  {paint(pad(name, name_width), 'dim')}  "
        line += paint(" " * (value_width - cells(shown)) + shown, "bold") + "  " + paint(change, style)
        lines.append(line.rstrip())
    return lines


def _failed_block(nodes: Sequence[NodeView], paint: Paint, width: int, run_folder: str) -> list[str]:
    if not nodes:
        return []
    lines: list[str] = []
    for node in nodes:
        if lines:
            lines.append("")
        elapsed = node.elapsed(0.0)
        after = f" after {duration(elapsed)}" if elapsed else ""
        lines.append(f"  {paint(f'{node.sign} {clean(node.address.text)}', node.state.style)} {node.state}{after}")
        lines += [f"      {part}" for part in wrap(node.cause, max(20, width - 6) if width else 0)]
        if node.hint:
            lines += [f"      {paint(part, 'cyan')}" for part in wrap(node.hint, max(20, width - 6) if width else 0)]
        if node.log_path:
            path = f"{run_folder.rstrip('/')}/{node.log_path}" if run_folder else node.log_path
            lines.append(f"      {paint('log', 'dim')} {clean(path)}")
        if not node.interrupted:
            lines += [f"      {paint(f'│ {line}', 'dim')}" for line in node.last_lines[-LAST_LINES:]]
    return lines


def _skipped_block(nodes: Sequence[NodeView], paint: Paint) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for node in nodes:
        by_reason.setdefault(node.reason or "skipped", []).append(clean(node.address.text))
    lines: list[str] = []
    for reason, addresses in by_reason.items():
        shown = ", ".join(addresses[:6]) + (f" and {len(addresses) - 6} more" if len(addresses) > 6 else "")
        lines.append(paint(f"  · {shown}: {reason}", "dim"))
    return lines


def _waiting_block(nodes: Sequence[NodeView], paint: Paint, width: int) -> list[str]:
    lines: list[str] = []
    for node in nodes:
        lines.append(f"  {paint(f'{node.sign} {clean(node.address.text)}', 'blue')} {node.waiting_for}")
        if node.waiting_for != "waits for people":
            continue
        for line in node.missing[:MAX_MISSING]:
            lines += [f"      {part}" for part in wrap(line, max(20, width - 6) if width else 0)]
        if len(node.missing) > MAX_MISSING:
            lines.append(f"      and {count(len(node.missing) - MAX_MISSING, 'more thing')}")
    return lines
