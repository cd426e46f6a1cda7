"""What may be asked of a run now, and why not."""

from __future__ import annotations

from enum import StrEnum

from specrun.views.node_view import NodeState, NodeView
from specrun.views.run_view import RunView

_CANCELLABLE = (NodeState.RUNNING, NodeState.RETRYING)
_TRIED = (NodeState.FAILED, NodeState.STOPPED)


class Act(StrEnum):
    CANCEL = "cancel"
    RETRY = "retry"
    PRIORITISE = "prioritise"
    PAUSE = "pause"
    STOP = "stop"
    OPEN = "open"


def why_not(act: Act, node: NodeView | None, view: RunView) -> str | None:
    """None: it can be asked. node: the selected one, None for the run itself."""
    if act is Act.OPEN:
        return _why_not_open(node)
    if view.finished and act is Act.RETRY and node is not None:
        return f"the run is over; `specrun apply --target {node.address.text}` tries it again"
    if view.finished:
        return "the run is over"
    if act in (Act.STOP, Act.PAUSE):
        if act is Act.PAUSE and view.status == "stopping":
            return "the run is stopping"
        return None if view.status else "the run has not begun"
    if node is None:
        return "select a node first"
    address = node.address.text
    match act:
        case Act.CANCEL:
            return None if node.state in _CANCELLABLE else f"{address} is {node.state}, not running"
        case Act.RETRY:
            return None if node.state in _TRIED else f"{address} has not failed: it is {node.state}"
        case _:
            return None if node.state is NodeState.QUEUED else f"{address} is {node.state}, not queued"


def _why_not_open(node: NodeView | None) -> str | None:
    if node is None:
        return "select a node first"
    if not node.output:
        return f"{node.address.text} has no output yet"
    return None
