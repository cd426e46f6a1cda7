"""What a dataset does with shapes that not every consumer can take: open lines, holes, parts, invalid outlines.

Imported by workers only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from specrun.errors import FormatError
from specrun.formats.repair import repair_part
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Part, Points, Polygon, Polyline, Tag

NEARLY_CLOSED = 0.05
"""A line whose ends are nearer than this share of its length is an outline that somebody forgot to close."""

Policy = Mapping[str, Any]
"""unclosed, holes, multipart, invalid: see GeometrySpec in kinds.datasets."""


def apply_geometry(labels: Iterable[AnyLabel], policy: Policy, counts: Counter[str], where: str) -> list[AnyLabel]:
    """counts: what was done, for the notes. where: the sample's name.

    Raises FormatError: something that the policy calls an error.
    """
    done: list[AnyLabel] = []
    for label in labels:
        match label:
            case Polyline():
                done += _line(label, policy, counts, where)
            case Polygon():
                done += _polygon(label, policy, counts, where)
            case Box() if label.width <= 0 or label.height <= 0:
                done += _invalid(label, policy, counts, where, "box without area")
            case Mask() if not label.bitmap.any():
                done += _invalid(label, policy, counts, where, "empty mask")
            case Tag() | Box() | Mask() | Keypoints():
                done.append(label)
    return done


def _line(label: Polyline, policy: Policy, counts: Counter[str], where: str) -> list[AnyLabel]:
    if not is_unclosed_outline(label):
        return [label]
    match policy["unclosed"]:
        case "keep":
            return [label]
        case "drop":
            counts["unclosed outline dropped"] += 1
            return []
        case "error":
            raise FormatError(f"{where}: the outline of a {label.label} is not closed.", hint="Close it at its source.")
    counts["unclosed outline closed"] += 1
    closed = Polygon(parts=(Part(label.points),), **_shared(label))
    return _polygon(closed, policy, counts, where)


def is_unclosed_outline(label: Polyline) -> bool:
    points = label.points
    if len(points) < 3:
        return False
    length = float(np.hypot(*np.diff(points, axis=0).T).sum())
    gap = float(np.hypot(*(points[-1] - points[0])))
    return gap <= NEARLY_CLOSED * length


def _polygon(label: Polygon, policy: Policy, counts: Counter[str], where: str) -> list[AnyLabel]:
    parts = label.parts
    if policy["holes"] == "fill" and any(part.holes for part in parts):
        counts["polygon with its holes filled"] += 1
        parts = tuple(Part(part.exterior) for part in parts)
    broken = [part for part in parts if not _is_valid(part)]
    if broken:
        if policy["invalid"] == "error":
            raise FormatError(f"{where}: a polygon of {label.label} has too few points or crosses itself.")
        if policy["invalid"] == "drop":
            counts["invalid polygon dropped"] += 1
            return []
        if policy["invalid"] == "repair":
            parts = _repaired(parts)
            counts["invalid polygon repaired" if parts else "polygon without area dropped"] += 1
            if not parts:
                return []
    if parts is not label.parts:
        label = replace(label, parts=parts)
    if policy["multipart"] == "split" and len(parts) > 1:
        counts["polygon of several parts split"] += 1
        return [replace(label, parts=(part,)) for part in parts]
    return [label]


def _repaired(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(whole for part in parts for whole in ((part,) if _is_valid(part) else repair_part(part)))


def _is_valid(part: Part) -> bool:
    return all(_is_simple(ring) for ring in (part.exterior, *part.holes))


def _is_simple(ring: Points) -> bool:
    """At least three points, an area, and no two edges that cross (edges may touch).

    Compares all pairs of edges at once: n² booleans, 1 MB at a thousand points.
    """
    if len(ring) < 3 or not np.isfinite(ring).all():
        return False
    start, end = ring, np.roll(ring, -1, axis=0)
    x, y = start.T
    if abs(float(x @ end[:, 1] - y @ end[:, 0])) < 1e-9:
        return False
    if len(ring) == 3:
        return True
    direction = end - start
    # side[i, j]: on which side of edge i the start of edge j lies
    relative = start[None, :, :] - start[:, None, :]
    side = direction[:, None, 0] * relative[..., 1] - direction[:, None, 1] * relative[..., 0]
    after = np.roll(side, -1, axis=1)
    apart = side * after < 0
    return not bool((apart & apart.T).any())


def _invalid(label: Box | Mask, policy: Policy, counts: Counter[str], where: str, what: str) -> list[AnyLabel]:
    if policy["invalid"] == "error":
        raise FormatError(f"{where}: {what} of {label.label}.")
    counts[f"{what} dropped"] += 1
    return []


def _shared(label: Polyline) -> dict[str, Any]:
    names = ("label", "attributes", "source_label", "group", "z_order", "score", "occluded", "crowd", "id")
    return {name: getattr(label, name) for name in names}
