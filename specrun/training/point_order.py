"""Keypoints of a model in the order of a skeleton, matched by the names of the points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from specrun.errors import FormatError
from specrun.model.labels import AnyLabel, Keypoints
from specrun.training.predictor import PointLayout

Order = tuple[tuple[int, ...] | None, tuple[str, ...]]
"""Where each point stands in the model (None: as it is), and the names."""


def point_order(
    known: tuple[str, ...] | int | None, wanted: PointLayout | None, log: Callable[[str], None]
) -> Order | None:
    """known: names of the model's points, how many it has when it does not name them, or None: it has none.

    Raises FormatError: other names, or another number of points.
    """
    if known is None:
        return None
    if wanted is None:
        return None if isinstance(known, int) else (None, known)
    if isinstance(known, int):
        if known != len(wanted.points):
            raise FormatError(
                f"skeleton: has {len(wanted.points)} points, the model {known}.",
                hint="Name the skeleton that the model was trained with.",
            )
        log("the model does not name its points: they are taken in the order of the skeleton")
        return None, wanted.points
    if set(known) != set(wanted.points) or len(known) != len(wanted.points):
        only_model = ", ".join(sorted(set(known) - set(wanted.points))) or "none"
        only_skeleton = ", ".join(sorted(set(wanted.points) - set(known))) or "none"
        raise FormatError(
            f"skeleton: other points than the model's; only the model has: {only_model}; "
            f"only the skeleton has: {only_skeleton}.",
            hint="Name the skeleton that the model was trained with.",
        )
    return tuple(known.index(name) for name in wanted.points), wanted.points


def ordered(labels: Sequence[AnyLabel], order: Order) -> tuple[AnyLabel, ...]:
    return tuple(_ordered(label, order) if isinstance(label, Keypoints) else label for label in labels)


def _ordered(label: Keypoints, order: Order) -> Keypoints:
    places, names = order
    if places is None:
        return replace(label, names=names)
    seen = tuple(label.visibility[place] for place in places) if label.visibility else ()
    return replace(label, names=names, points=np.take(label.points, places, axis=0), visibility=seen)
