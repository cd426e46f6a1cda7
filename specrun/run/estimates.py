"""Estimates for the plan, from each node's kind and its last record."""

from __future__ import annotations

from collections.abc import Callable

from specrun.model.node import Node
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord
from specrun.spec.kind import Kind, Registry, kind_of


def estimate_of(registry: Registry) -> Callable[[Node, NodeRecord | None], Estimate]:
    """The planner's `estimate`; a kind that does not override it costs no validation."""

    def estimate(node: Node, last: NodeRecord | None) -> Estimate:
        kind = kind_of(node.kind, registry)
        if type(kind).estimate is Kind.estimate:
            return kind.estimate(None, last)
        return kind.estimate(kind.Spec.model_validate(dict(node.config)), last)

    return estimate
