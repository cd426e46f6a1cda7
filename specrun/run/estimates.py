"""Estimates for the plan, from each node's kind and its last record."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from specrun.model.node import Node
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord
from specrun.spec.kind import Kind, Registry, kind_of


def estimate_of(registry: Registry) -> Callable[[Node, NodeRecord | None, Sequence[str]], Estimate]:
    """The planner's `estimate`; a kind that does not override it costs no validation."""

    def estimate(node: Node, last: NodeRecord | None, changed: Sequence[str]) -> Estimate:
        kind = kind_of(node.kind, registry)
        if type(kind).estimate is Kind.estimate:
            return kind.estimate(None, last)
        spec = kind.Spec.model_validate(dict(node.config))
        less = kind.estimate_of_change(spec, last, changed) if last and changed else None
        return less or kind.estimate(spec, last)

    return estimate
