"""What a kind's reports look like to who watches the run."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from specrun.model.event import Event, NodeStarted, Progress
from specrun.views.run_view import RunView


def told_progress(events: Iterable[Event]) -> list[tuple[float | None, str]]:
    """How much of the node is done and what is said of it, after each report."""
    view, told = RunView(), []
    for event in events:
        if isinstance(event, Progress):
            if not view.nodes:
                view.apply(NodeStarted(address=event.address))
            view.apply(event)
            node = view.of(event.address)
            assert node is not None
            told.append((node.progress.fraction, node.progress.said))
    return told


def never_falls(told: Iterable[tuple[float | None, str]]) -> bool:
    return all(after >= before for before, after in pairwise(share or 0.0 for share, _ in told))
