"""Which metrics say something of a model's task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

DEFAULT_METRICS: Mapping[str, tuple[str, ...]] = {
    "detect": ("box_map", "confusion"),
    "obb": ("box_map", "confusion"),
    "segment": ("mask_map", "box_map", "confusion"),
    "semantic": ("miou", "confusion"),
    "pose": ("oks", "pck", "box_map", "confusion"),
    "classify": ("accuracy", "confusion"),
}
FITTING_METRICS: Mapping[str, tuple[str, ...]] = {
    **DEFAULT_METRICS,
    "detect": ("box_map", "miou", "confusion"),
    "segment": ("mask_map", "box_map", "miou", "confusion"),
    "semantic": ("miou", "mask_map", "box_map", "confusion"),
}
"""Boxes of a detector may be held against pixels, and masks of pixels against objects."""


def other_metrics(task: str, metrics: Iterable[str]) -> list[str]:
    """Those that do not fit."""
    return [name for name in metrics if name not in FITTING_METRICS[task]]
