"""The left side as data: which rows there are, in which order, and what each says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from specrun.model.address import Address
from specrun.model.plan import Action
from specrun.views.node_view import NodeState, NodeView
from specrun.views.quantities import short_duration, short_time_left, stopwatch
from specrun.views.run_view import RunView
from specrun.views.text import clean

RUN_KEY = ""
"""Key of the row that stands for the run as a whole."""

_STATES_BY_INTEREST = (
    NodeState.FAILED,
    NodeState.RUNNING,
    NodeState.RETRYING,
    NodeState.WAITING,
    NodeState.STOPPED,
    NodeState.QUEUED,
    NodeState.DONE,
    NodeState.UNCHANGED,
    NodeState.SKIPPED,
)


_SHARE = re.compile(r"(\d[\d,]*) of (\d[\d,]*)(?: (\w+))?")


class Show(StrEnum):
    ALL = "all"
    RUNNING = "only running"
    FAILED = "only failed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What of the tree people want to see. folded: keys of sections and matrices that are closed."""

    folded: frozenset[str] = frozenset()
    unfolded: frozenset[str] = frozenset()
    text: str = ""
    show: Show = Show.ALL

    @property
    def narrowed(self) -> bool:
        return bool(self.text) or self.show is not Show.ALL


class RowSort(StrEnum):
    RUN = "run"
    SECTION = "section"
    MATRIX = "matrix"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Row:
    """key: the address of a node, `section` or `section.name` of a group. open: None where nothing folds.
    amounts: nodes by state, for groups. note: whom a waiting node waits for, in a word or two."""

    sort: RowSort
    key: str
    label: str
    depth: int
    state: NodeState
    sign: str
    open: bool | None = None
    fraction: float | None = None
    percent: str = ""
    elapsed: str = ""
    left: str = ""
    note: str = ""
    amounts: tuple[tuple[NodeState, int], ...] = ()


@dataclass(slots=True)
class _Group:
    key: str
    label: str
    nodes: list[NodeView] = field(default_factory=list)


def tree_rows(view: RunView, wish: Wish, now: float) -> list[Row]:
    """The run, then sections in the order of the plan, matrices folded into one row unless opened."""
    nodes = [node for node in view.nodes.values() if _wanted(node, wish)]
    rows = [_run_row(view, now)]
    for section in _groups(nodes, lambda address: address.section, lambda address: address.section):
        is_open = wish.narrowed or section.key not in wish.folded
        rows.append(_group_row(RowSort.SECTION, section, 0, is_open=is_open, now=now))
        if is_open:
            rows += _section_rows(section, wish, now, stopping=view.status == "stopping")
    return rows


def fold(wish: Wish, row: Row) -> Wish:
    """The wish after a fold or unfold of that row; others fold nothing."""
    folded, unfolded = set(wish.folded), set(wish.unfolded)
    if row.sort is RowSort.SECTION:
        folded.symmetric_difference_update({row.key})
    elif row.sort is RowSort.MATRIX:
        unfolded.symmetric_difference_update({row.key})
    return Wish(frozenset(folded), frozenset(unfolded), wish.text, wish.show)


def _section_rows(section: _Group, wish: Wish, now: float, *, stopping: bool) -> Iterable[Row]:
    for group in _groups(section.nodes, lambda address: address.base.text, lambda address: address.name):
        if len(group.nodes) == 1 and not group.nodes[0].address.instance:
            yield _node_row(group.nodes[0], group.label, 1, now, stopping=stopping)
            continue
        is_open = wish.narrowed or group.key in wish.unfolded
        yield _group_row(RowSort.MATRIX, group, 1, is_open=is_open, now=now)
        if is_open:
            shared = set.intersection(*(set(node.address.instance) for node in group.nodes))
            for node in group.nodes:
                yield _node_row(node, _instance_label(node.address, shared), 2, now, stopping=stopping)


def _instance_label(address: Address, shared: Collection[tuple[str, str]]) -> str:
    """What tells an instance from its neighbours: the room is narrow."""
    own = [pair for pair in address.instance if pair not in shared] or address.instance
    return ",".join(f"{key}={value}" for key, value in own) or address.name


def _groups(nodes: Sequence[NodeView], key: Callable[[Address], str], label: Callable[[Address], str]) -> list[_Group]:
    found: dict[str, _Group] = {}
    for node in nodes:
        name = key(node.address)
        found.setdefault(name, _Group(name, label(node.address))).nodes.append(node)
    return list(found.values())


def _wanted(node: NodeView, wish: Wish) -> bool:
    if wish.text and wish.text.casefold() not in node.address.text.casefold():
        return False
    if wish.show is Show.RUNNING:
        return node.state in (NodeState.RUNNING, NodeState.RETRYING)
    if wish.show is Show.FAILED:
        return node.state is NodeState.FAILED
    return True


def _run_row(view: RunView, now: float) -> Row:
    states = {"": NodeState.QUEUED, "running": NodeState.RUNNING, "done": NodeState.DONE, "failed": NodeState.FAILED}
    states |= {"stopping": NodeState.STOPPED, "interrupted": NodeState.STOPPED}
    state = states.get(view.status, NodeState.WAITING if view.status == "waiting" else NodeState.SKIPPED)
    return Row(RowSort.RUN, RUN_KEY, view.project or "…", 0, state, state.sign)


def _node_row(node: NodeView, label: str, depth: int, now: float, *, stopping: bool) -> Row:
    running = node.state is NodeState.RUNNING
    elapsed = node.elapsed(now)
    left = node.remaining(now) if running and not stopping else None
    if running and elapsed is not None:
        spent = stopwatch(elapsed)
    else:
        spent = short_duration(elapsed) if elapsed is not None else ""
    return Row(
        RowSort.NODE,
        node.address.text,
        clean(label),
        depth,
        node.state,
        "-" if node.action is Action.ORPHAN else node.sign,
        fraction=node.progress.fraction if running else None,
        percent=node.progress.percent if running else "",
        elapsed=spent,
        left=short_time_left(left) if left is not None else "",
        note=waiting_note(node) if node.state is NodeState.WAITING else "",
    )


def waiting_note(node: NodeView) -> str:
    """`3/10 tasks`, `people`, `approval`, `other nodes`."""
    if node.approval:
        return "approval"
    if node.waiting_for != "waits for people":
        return "other nodes"
    for text in node.missing:
        if found := _SHARE.search(text):
            noun = found[3] or ""
            return f"{found[1]}/{found[2]} {noun}".rstrip()
    return "people"


def _group_row(sort: RowSort, group: _Group, depth: int, *, is_open: bool, now: float) -> Row:
    counted = [node for node in group.nodes if node.action is not Action.ORPHAN] or group.nodes
    amounts = Counter(node.state for node in counted)
    state = next(state for state in _STATES_BY_INTEREST if amounts[state])
    shown = tuple((state, amounts[state]) for state in NodeState if amounts[state])
    return Row(
        sort,
        group.key,
        clean(group.label),
        depth,
        state,
        state.sign,
        open=is_open,
        fraction=_group_fraction(counted) if amounts[NodeState.RUNNING] else None,
        amounts=shown,
    )


def _group_fraction(nodes: Collection[NodeView]) -> float:
    done = sum(1.0 if node.state.settled else (node.progress.fraction or 0.0) for node in nodes)
    return done / len(nodes)
