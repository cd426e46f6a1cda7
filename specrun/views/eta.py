"""When the whole run will be done: the longest chain of what is left, and what the GPUs must do in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from specrun.model.address import Address
from specrun.views.node_view import NodeState, NodeView
from specrun.views.run_view import RunView

WORTH_SAYING_S = 30.0
"""A lower bound of seconds says nothing."""


@dataclass(frozen=True, slots=True)
class Eta:
    """seconds: from now. complete: every node that is left has an expectation; otherwise it is a lower bound."""

    seconds: float
    complete: bool


def run_eta(view: RunView, now: float) -> Eta | None:
    """None: over or about to be, or nothing is known about what is left."""
    left = {node.address: node for node in view.to_do if not node.state.settled}
    if view.finished or view.status == "stopping" or not left:
        return None
    siblings = _sibling_seconds(view)
    remaining = {address: _remaining(node, siblings, now) for address, node in left.items()}
    known = [seconds for seconds in remaining.values() if seconds is not None]
    if not known:
        return None
    chain = _longest_chain(left, remaining)
    in_turn = _gpu_seconds(left, remaining) / max(1, len(view.gpus))
    eta = Eta(max(chain, in_turn), complete=len(known) == len(remaining))
    return eta if eta.complete or eta.seconds >= WORTH_SAYING_S else None


def _sibling_seconds(view: RunView) -> dict[Address, float]:
    """How long instances of one matrix took that are done, by what they are instances of."""
    took: dict[Address, list[float]] = {}
    for node in view.nodes.values():
        if node.address.instance and node.state is NodeState.DONE and node.duration_s is not None:
            took.setdefault(node.address.base, []).append(node.duration_s)
    return {base: sum(seconds) / len(seconds) for base, seconds in took.items()}


def _remaining(node: NodeView, siblings: Mapping[Address, float], now: float) -> float | None:
    seconds = node.remaining(now)
    typical = siblings.get(node.address.base)
    if seconds is None and typical is not None and node.address.instance:
        return max(0.0, typical - (node.elapsed(now) or 0.0)) if node.state is NodeState.RUNNING else typical
    return seconds


def _longest_chain(left: Mapping[Address, NodeView], remaining: Mapping[Address, float | None]) -> float:
    """Nodes come in an order in which they can run, so one pass is enough."""
    ends: dict[Address, float] = {}
    for address, node in left.items():
        needs = node.planned.needs if node.planned else ()
        start = max((ends.get(need, 0.0) for need in needs), default=0.0)
        ends[address] = start + (remaining[address] or 0.0)
    return max(ends.values(), default=0.0)


def _gpu_seconds(left: Mapping[Address, NodeView], remaining: Mapping[Address, float | None]) -> float:
    return sum(remaining[address] or 0.0 for address, node in left.items() if _uses_gpu(node))


def _uses_gpu(node: NodeView) -> bool:
    if node.state is NodeState.RUNNING:
        return bool(node.gpus)
    return bool(node.planned and node.planned.estimate.gpu_memory_mib)
