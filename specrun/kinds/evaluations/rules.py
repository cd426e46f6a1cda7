"""What is decided before anything is counted: which metrics can be told, and how classes of pixels count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from specrun.errors import NodeError
from specrun.kinds.evaluations.labels import Pair, masks_overlap, task_of, through_taxonomy
from specrun.kinds.evaluations.metrics import FITTING_METRICS, other_metrics
from specrun.model.taxonomy import ResolvedTaxonomy
from specrun.model.work import Made

_NAMES_SHOWN = 5


def pixel_rule(
    made: Sequence[Made], pairs: Sequence[Sequence[Pair]], taxonomy: ResolvedTaxonomy | None
) -> tuple[bool, str | None]:
    """Whether a pixel may have several classes, once for all that is evaluated together, whatever was predicted; and
    what to say of it. It has one, unless masks of several classes overlap in the truth, or a model may say several."""
    semantic = [
        (one, side) for one, side in zip(made, pairs, strict=True) if task_of(one.facts.get("task"), side) == "semantic"
    ]
    if not semantic:
        return False, None
    telling = [str(one.address) for one, _ in semantic if one.facts.get("multi_label")]
    if telling:
        reason = f"{listed(telling)} may say several classes of one pixel"
    else:
        truth = (drawn for drawn, _ in semantic[0][1])
        if not masks_overlap(through_taxonomy(truth, taxonomy, "semantic", "the ground truth")):
            return False, None
        reason = "masks of several classes overlap in the truth"
    return True, (
        f"each class of pixels was counted by itself, because {reason}; `multi_label: false` counts one class a pixel"
    )


def refuse_metrics(whose: str, task: str, metrics: Iterable[str]) -> None:
    """Raises NodeError: a metric says nothing of models of this task."""
    other = other_metrics(task, metrics)
    if other:
        raise NodeError(
            f"metrics: {', '.join(other)} says nothing of {whose}, a model for {task}.",
            hint=f"For {task} there are: {', '.join(FITTING_METRICS[task])}.",
        )


def refuse_missing(asked: Sequence[str] | None, without_masks: Sequence[str], *, pose: bool, points: bool) -> None:
    """Raises NodeError: what was asked for cannot be told. What was not asked for becomes a note."""
    wanted = set(asked or ())
    if "mask_map" in wanted and without_masks:
        sides = " and of ".join(without_masks)
        raise NodeError(
            f"metrics: mask_map needs masks or polygons, and the objects of {sides} are not all of these.",
            hint="Write box_map instead.",
        )
    if wanted & {"oks", "pck"} and pose and not points:
        raise NodeError("metrics: oks and pck need keypoints, and the truth has none.", hint="Write box_map instead.")


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
