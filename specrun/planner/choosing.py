"""The best instance of a matrix: which of the inputs of one role is handed to the node, and so counts for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from specrun.errors import NodeError
from specrun.model.address import Address
from specrun.model.metric_names import meant_metrics, spoken_metric


class Scored(Protocol):
    """What was made: a record of the state, or an input of a run."""

    @property
    def address(self) -> Address: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...


OneMade = TypeVar("OneMade", bound=Scored)


def choose_best(found: Sequence[OneMade], metric: str, mode: str) -> OneMade:
    """By facts["metrics"]; of equals the first by address. Raises NodeError: none reports the metric."""
    known = sorted({name for made in found for name in _metrics(made)})
    meant = meant_metrics(metric, known)
    if len(meant) > 1:
        told = " or ".join(map(spoken_metric, meant))
        raise NodeError(f"best: {metric} can be several metrics of {found[0].address.base}.", hint=f"Write {told}.")
    scores = {made.address: score for made in found if meant and (score := _score(made, meant[0])) is not None}
    if not scores:
        hint = f"There are: {', '.join(map(spoken_metric, known))}." if known else "They report no metrics at all."
        raise NodeError(f"best: no instance of {found[0].address.base} reports the metric {metric}.", hint=hint)
    sign = 1 if mode == "min" else -1
    ranked = [made for made in found if made.address in scores]
    return min(ranked, key=lambda made: (sign * scores[made.address], str(made.address)))


def _metrics(made: Scored) -> Mapping[str, object]:
    metrics = made.facts.get("metrics")
    return metrics if isinstance(metrics, Mapping) else {}


def _score(made: Scored, metric: str) -> float | None:
    value = _metrics(made).get(metric)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
