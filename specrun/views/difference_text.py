"""What is new in a plan, for `watch`: the nodes that changed and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from specrun.model.plan import Plan, PlannedNode
from specrun.views.plan_text import plan_text


def difference_text(project: str, nodes: Sequence[PlannedNode], *, color: bool = False, width: int = 0) -> str:
    """A row for each node, as the plan draws it, without the plan's own header; "" for no nodes."""
    _, _, rows = plan_text(Plan(project, tuple(nodes)), color=color, width=width).partition("\n\n")
    return rows
