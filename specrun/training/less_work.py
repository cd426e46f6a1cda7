"""What a change of a model's settings takes where its training is taken over."""

from __future__ import annotations

from collections.abc import Sequence

from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord


def estimate_of_change(last: NodeRecord, changed: Sequence[str], *, epochs: object, resume: str) -> Estimate | None:
    """Other formats of the same weights, or more epochs. epochs: as the spec wants them now.

    None: it is trained anew.
    """
    if resume == "never":
        return None
    if all(path.partition(".")[0] == "export" for path in changed):
        return Estimate(source="nothing is trained again")
    before = last.facts.get("epochs")
    if list(changed) != ["train.epochs"] or not isinstance(before, int) or not isinstance(epochs, int):
        return None
    if epochs > before > 0:
        return Estimate(last.duration_s * (epochs - before) / before, f"goes on after epoch {before}")
    return None
