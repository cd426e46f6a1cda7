"""A plan as people read it: a sign, an address, the reason, and what it will cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from specrun.model.plan import Action, Cause, Estimate, Plan, PlannedNode, Reason
from specrun.views.paint import ACTION_STYLES, Paint
from specrun.views.quantities import count, rough_duration, size
from specrun.views.text import cells, clean, pad_address, wrap

FOLD_UNCHANGED_FROM = 5
FOLD_INSTANCES_FROM = 4
REASONS_SHOWN = 3
MISSING_SHOWN = 8
_MIB = 1 << 20


def plan_text(plan: Plan, *, verbose: bool = False, color: bool = False, width: int = 0) -> str:
    """The whole text, ending in a line end. width: columns to fit into; 0 breaks no lines."""
    paint = Paint(color)
    lines = _header(plan, paint, width)
    rows = _rows(plan, verbose=verbose)
    if rows:
        lines += ["", *_table(rows, paint, width)]
    return "\n".join(lines) + "\n"


def plan_json(plan: Plan) -> dict[str, Any]:
    """The same for programs: everything named, nothing folded."""
    return {
        "format": 1,
        "project": plan.project,
        "state": plan.state,
        "changes": plan.has_changes,
        "summary": dict(Counter(str(node.action) for node in plan.nodes)),
        "nodes": [_node_json(node) for node in plan.nodes],
    }


def _node_json(node: PlannedNode) -> dict[str, Any]:
    data = node.to_json()
    estimate = node.estimate
    data["sign"] = node.action.sign
    data["estimate"] = {
        "seconds": estimate.seconds,
        "source": estimate.source,
        "gpu_memory_mib": estimate.gpu_memory_mib,
        "cost_usd": estimate.cost_usd,
    }
    for reason, written in zip(node.reasons, data["reasons"], strict=True):
        where = reason.where
        written["where"] = {"file": where.file, "line": where.line, "column": where.column} if where else None
    return data


def plan_counts(plan: Plan) -> str:
    """`9 nodes · 3 to run, 5 up to date, 1 waiting for people`."""
    amounts = Counter(node.action for node in plan.nodes)
    declared = sum(amounts.values()) - amounts[Action.ORPHAN]
    to_run = sum(amount for action, amount in amounts.items() if action.runs and action is not Action.UNKNOWN)
    parts = [
        (to_run, f"{to_run} to run"),
        (amounts[Action.UNKNOWN], f"{amounts[Action.UNKNOWN]} decided on the way"),
        (amounts[Action.NONE], f"{amounts[Action.NONE]} up to date"),
        (amounts[Action.WAIT], f"{amounts[Action.WAIT]} waiting for people"),
        (amounts[Action.DISABLED], f"{amounts[Action.DISABLED]} disabled"),
        (amounts[Action.ORPHAN], f"{amounts[Action.ORPHAN]} no longer in the spec"),
    ]
    said = [text for amount, text in parts if amount]
    if not plan.has_changes:
        idle = amounts[Action.NONE] == declared
        said = ["nothing to do", "everything is up to date"] if idle else ["nothing to do", *said]
    return f"{count(declared, 'node')} · {', '.join(said)}"


def _header(plan: Plan, paint: Paint, width: int) -> list[str]:
    project = clean(plan.project)
    first, *rest = wrap(f"{project} · {plan_counts(plan)}", width)
    return [first.replace(project, paint(project, "bold"), 1), *rest]


@dataclass(slots=True)
class _Row:
    """reasons: lines, each a list of (text, style). aside: the estimate, or what becomes of an orphan."""

    action: Action
    address: str
    reasons: list[list[tuple[str, str]]] = field(default_factory=list)
    aside: str = ""
    notes: list[tuple[str, str]] = field(default_factory=list)


def _rows(plan: Plan, *, verbose: bool) -> list[_Row]:
    # Only GPUs that are insisted on: the plan does not ask the machine, and others may run on the CPU.
    gpus = {node.address: node.resources.min_gpus for node in plan.graph}
    unchanged = plan.with_action(Action.NONE)
    fold_unchanged = not verbose and len(unchanged) >= FOLD_UNCHANGED_FROM
    rows: list[_Row] = []
    for group in _groups(plan.nodes, fold=not verbose):
        first = group[0]
        if first.action is Action.NONE and fold_unchanged and not first.notes:
            continue
        rows.append(_row(group, gpus.get(first.address, 0), verbose=verbose))
    if fold_unchanged:
        hidden = [node for node in unchanged if not node.notes]
        place = next((i for i, row in enumerate(rows) if row.action is Action.ORPHAN), len(rows))
        rows.insert(place, _folded(hidden))
    return rows


def _groups(nodes: Sequence[PlannedNode], *, fold: bool) -> list[list[PlannedNode]]:
    """Instances of one matrix with the same action for the same reasons stand together, where the first stood."""
    groups: dict[object, list[PlannedNode]] = {}
    for node in nodes:
        reasons = tuple((reason.cause, reason.text) for reason in node.reasons)
        groups.setdefault((node.address.base, node.action, reasons, node.notes), []).append(node)
    if fold and any(len(group) >= FOLD_INSTANCES_FROM for group in groups.values()):
        leaders = {group[0].address: group for group in groups.values() if len(group) >= FOLD_INSTANCES_FROM}
        followers = {node.address for group in leaders.values() for node in group[1:]}
        return [leaders.get(node.address, [node]) for node in nodes if node.address not in followers]
    return [[node] for node in nodes]


def _folded(nodes: Sequence[PlannedNode]) -> _Row:
    sections = Counter(node.address.section for node in nodes)
    text = ", ".join(f"{section} {amount}" for section, amount in sections.items())
    return _Row(Action.NONE, count(len(nodes), "node"), [[("up to date", ""), (text, "dim")]])


def _row(group: Sequence[PlannedNode], gpus: int, *, verbose: bool) -> _Row:
    node = group[0]
    address = clean(node.address.text) if len(group) == 1 else f"{clean(node.address.base.text)}[*] ×{len(group)}"
    row = _Row(node.action, address, aside=_aside(group, gpus))
    owed = _owed(node.reasons, most=len(node.reasons) if verbose else MISSING_SHOWN)
    reasons = owed or _joined(node.reasons)
    shown = reasons if verbose or owed else reasons[:REASONS_SHOWN]
    row.reasons = list(shown) or [[(_default_reason(node.action), "")]]
    if len(reasons) > len(shown):
        row.reasons.append([(f"and {count(len(reasons) - len(shown), 'more reason')} (-v shows them)", "dim")])
    said = [reason.text for reason in node.reasons if reason.cause is Cause.PEOPLE]
    notes = [note for note in node.notes if not said or not all(text in note for text in said)]
    row.notes = [("note: " + clean(note), "") for note in notes if note not in said]
    if verbose:
        row.notes += [line for reason in node.reasons for line in _exact(reason)]
        row.notes += _details(node)
    return row


def _owed(reasons: Sequence[Reason], *, most: int) -> list[list[tuple[str, str]]]:
    """What people owe, one thing a line when there are several; [] when it is no more than one."""
    texts = [clean(reason.text) for reason in reasons if reason.cause is Cause.PEOPLE]
    if len(texts) < 2 or len(texts) < len(reasons):
        return []
    lines = ["waits for people:", *(f"  {text}" for text in texts[:most])]
    if len(texts) > most:
        lines.append(f"  and {len(texts) - most} more")
    return [[(line, "")] for line in lines]


def _joined(reasons: Sequence[Reason]) -> list[list[tuple[str, str]]]:
    """What the world changed reads as one sentence; what the spec changed has a line and so a row each."""
    lines: list[list[tuple[str, str]]] = []
    seen: list[str] = []
    for reason in reasons:
        if reason.cause in (Cause.OBSERVATION, Cause.PEOPLE) and reason.where is None:
            seen.append(clean(reason.text))
            continue
        parts = [(clean(reason.text), "")]
        if reason.where is not None:
            parts.append((clean(reason.where.short), "dim"))
        lines.append(parts)
    return [[(", ".join(seen), "")], *lines] if seen else lines


def _default_reason(action: Action) -> str:
    match action:
        case Action.NONE:
            return "up to date"
        case Action.CREATE:
            return "new"
        case Action.ORPHAN:
            return "no longer in the spec"
        case Action.DISABLED:
            return "disabled"
        case _:
            return ""


def exact_values(reason: Reason) -> tuple[str, str] | None:
    """Old and new as JSON; None when the reason's text says them already or there are none."""
    old, new = (clean(json.dumps(value, ensure_ascii=False)) for value in (reason.old, reason.new))
    return None if not reason.path or f"{old} → {new}" in reason.text else (old, new)


def _exact(reason: Reason) -> list[tuple[str, str]]:
    values = exact_values(reason)
    return [(f"{clean(reason.path)}: {values[0]} → {values[1]}", "dim")] if values else []


def _details(node: PlannedNode) -> list[tuple[str, str]]:
    """What `-v` adds for nodes that run: where it will lie, what it needs and its fingerprint."""
    if not node.action.runs:
        return []
    lines = []
    if node.folder:
        lines.append((f"into {clean(node.folder)}", "dim"))
    if node.needs:
        lines.append((f"needs {', '.join(clean(need.text) for need in node.needs)}", "dim"))
    if node.fingerprint:
        lines.append((f"fingerprint {clean(node.fingerprint)}", "dim"))
    return lines


def _aside(group: Sequence[PlannedNode], gpus: int) -> str:
    node = group[0]
    if node.action is Action.ORPHAN:
        return "kept; `specrun prune` removes it"
    if not node.action.runs:
        return ""
    parts = [estimate_text(node.estimate, gpus)]
    if len(group) > 1:
        seconds = [n.estimate.seconds for n in group if n.estimate.seconds is not None]
        parts = [f"{rough_duration(sum(seconds))} in all"] if len(seconds) == len(group) else []
    if node.external:
        parts.append("asks first: writes outside this machine")
    return ", ".join(part for part in parts if part)


def estimate_text(estimate: Estimate, gpus: int = 0) -> str:
    """`about 41 min on 1 GPU (last run)`, `about 25 min, 18 GiB of GPU memory`."""
    parts = []
    if estimate.seconds is not None:
        parts.append(rough_duration(estimate.seconds) + (f" on {count(gpus, 'GPU')}" if gpus else ""))
    if estimate.gpu_memory_mib:
        parts.append(f"{size(estimate.gpu_memory_mib * _MIB)} of GPU memory")
    if estimate.cost_usd is not None:
        parts.append(f"about ${estimate.cost_usd:.2f}")
    text = ", ".join(parts)
    if not text:
        return clean(estimate.source)
    return f"{text} ({clean(estimate.source)})" if estimate.source else text


def _table(rows: Sequence[_Row], paint: Paint, width: int) -> list[str]:
    """Three columns: address, reason, aside. The aside moves below where it would not fit."""
    address_width = min(max(cells(row.address) for row in rows), max(24, width // 3) if width else 60)
    left = 2 + 2 + address_width + 2
    reason_room = max(20, width - left) if width else 0
    with_aside = [_plain_width(row.reasons[0]) for row in rows if row.aside]
    column = left + max((w for w in with_aside if not width or left + w <= width * 0.72), default=0) + 3
    lines: list[str] = []
    for row in rows:
        lines += _row_lines(row, paint, width, (address_width, left, reason_room, column))
    return lines


def _row_lines(row: _Row, paint: Paint, width: int, columns: tuple[int, int, int, int]) -> list[str]:
    address_width, left, room, aside_at = columns
    quiet = "dim" if row.action in (Action.NONE, Action.DISABLED) else ""
    sign = f"  {paint(row.action.sign, ACTION_STYLES[row.action])} "
    body = [line for reason in row.reasons for line in _painted_reason(reason, paint, room, quiet)]
    lines: list[str] = []
    if cells(row.address) > address_width:
        lines.append(sign + paint(row.address, quiet))
        begin = " " * left
    else:
        begin = sign + paint(pad_address(row.address, address_width), quiet) + "  "
    first, used = body[0]
    gap = _gap(left + used, row.aside, aside_at, width)
    if row.aside and gap:
        first += " " * gap + paint(row.aside, "dim")
    lines += [(begin + first).rstrip(), *(" " * left + text for text, _ in body[1:])]
    below = [(row.aside, "dim"), *row.notes] if row.aside and not gap else row.notes
    for text, style in below:
        lines += [" " * left + paint(part, style) for part in wrap(text, room)]
    return lines


def _gap(used: int, aside: str, aside_at: int, width: int) -> int:
    """Spaces before the aside: to its column, or at least three; 0 when the line has no room for it."""
    gap = max(aside_at - used, 3)
    if width and used + gap + cells(aside) > width:
        gap = 3
    return 0 if width and used + gap + cells(aside) > width else gap


def _plain_width(reason: list[tuple[str, str]]) -> int:
    return sum(cells(text) for text, _ in reason) + 2 * (len(reason) - 1)


def _painted_reason(reason: list[tuple[str, str]], paint: Paint, room: int, quiet: str) -> list[tuple[str, int]]:
    """Lines with their width in cells; parts that do not fit on one line stand below each other."""
    if not room or _plain_width(reason) <= room:
        return [("  ".join(paint(text, style or quiet) for text, style in reason), _plain_width(reason))]
    return [(paint(line, style or quiet), cells(line)) for text, style in reason for line in wrap(text, room)]
