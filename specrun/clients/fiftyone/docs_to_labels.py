"""FiftyOne's label documents as labels in pixels (the layout stands in `label_fields`)."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.clients.fiftyone.label_fields import RESERVED, attribute_name
from specrun.model.labels import (
    AnyLabel,
    Bitmap,
    Box,
    Keypoints,
    Label,
    Mask,
    Part,
    Points,
    Polygon,
    Polyline,
    Tag,
    Visibility,
)

Place = tuple[float, float, float, float, float]
"""x, y, width, height, rotation."""


def docs_to_labels(
    docs: Iterable[Mapping[str, Any]], size_wh: tuple[int, int], marks: frozenset[str] = frozenset()
) -> list[AnyLabel]:
    """Documents of one field as labels in pixels, parts of one object joined.

    marks: keys that evaluations and the like wrote, which are no attributes.
    """
    scale = np.array(size_wh, dtype=np.float64)
    labels: list[AnyLabel] = []
    objects: dict[object, int] = {}
    for doc in docs:
        shared = _shared_values(doc, marks)
        for label in _doc_to_labels(doc, scale, shared):
            owner = doc.get("part_of")
            if owner is None or not isinstance(label, Polygon):
                labels.append(label)
            elif owner in objects:
                first = labels[objects[owner]]
                assert isinstance(first, Polygon)
                labels[objects[owner]] = Polygon(parts=first.parts + label.parts, **_shared_of(first))
            else:
                objects[owner] = len(labels)
                labels.append(label)
    return labels


def _shared_values(doc: Mapping[str, Any], marks: frozenset[str]) -> dict[str, Any]:
    score = doc.get("score") if doc.get("_cls") == "Keypoint" else doc.get("confidence")
    group = doc.get("group")
    return {
        "label": doc.get("label") or "",
        "attributes": read_attributes(doc, marks),
        "source_label": doc.get("source_label"),
        "group": int(group) if isinstance(group, int | float) else None,
        "z_order": int(doc.get("z_order") or 0),
        "score": float(score) if isinstance(score, int | float) else None,
        "occluded": bool(doc.get("occluded")),
        "crowd": bool(doc.get("iscrowd")),
        "id": doc.get("source_id"),
    }


def _shared_of(label: Label) -> dict[str, Any]:
    names = ("label", "attributes", "source_label", "group", "z_order", "score", "occluded", "crowd", "id")
    return {name: getattr(label, name) for name in names}


def read_attributes(doc: Mapping[str, Any], marks: frozenset[str]) -> dict[str, str | float | bool]:
    found: dict[str, str | float | bool] = {}
    for name, old in (doc.get("attributes") or {}).items():
        if isinstance(old, Mapping) and isinstance(old.get("value"), str | float | int | bool):
            found[name] = old["value"]
    for key, value in doc.items():
        plain = isinstance(value, str | float | int | bool) and not key.startswith("_")
        if plain and key not in RESERVED and key not in marks:
            found[attribute_name(key)] = value
    return found


def _doc_to_labels(doc: Mapping[str, Any], scale: NDArray[np.float64], shared: dict[str, Any]) -> list[AnyLabel]:
    match doc.get("_cls"):
        case "Classification":
            others = zip(doc.get("other_classes") or (), doc.get("other_confidences") or (), strict=False)
            return [Tag(others=tuple((str(name), float(score)) for name, score in others), **shared)]
        case "Detection":
            return _detection_to_labels(doc, scale, shared)
        case "Polyline":
            return _polyline_to_labels(doc, scale, shared)
        case "Keypoint":
            return [_keypoint_to_label(doc, scale, shared)]
        case _:
            return []


def _detection_to_labels(doc: Mapping[str, Any], scale: NDArray[np.float64], shared: dict[str, Any]) -> list[AnyLabel]:
    place = doc.get("bounding_box") or ()
    if len(place) != 4:  # three-dimensional or empty
        return []
    x, y, width, height = (float(place[i] * scale[i % 2]) for i in range(4))
    bitmap = _bitmap_of(doc)
    if bitmap is None:
        return [Box(x=x, y=y, width=width, height=height, **shared)]
    size = (max(round(width), 1), max(round(height), 1))
    return [Mask(bitmap=resize_bitmap(bitmap, size), left=round(x), top=round(y), **shared)]


def _bitmap_of(doc: Mapping[str, Any]) -> Bitmap | None:
    if doc.get("mask"):
        return unpack_mask(doc["mask"])
    if doc.get("mask_path"):
        from PIL import Image  # masks on disk are rare; without them PIL is not needed

        with Image.open(Path(doc["mask_path"])) as image:
            bitmap: Bitmap = np.asarray(image.convert("L")) != 0
        return bitmap
    return None


def resize_bitmap(bitmap: Bitmap, size_wh: tuple[int, int]) -> Bitmap:
    """FiftyOne stretches a mask over its bounding box; nearest neighbour, unchanged at its own size."""
    height, width = bitmap.shape
    if (width, height) == size_wh or not bitmap.size:
        return bitmap
    rows = (np.arange(size_wh[1]) + 0.5) * height / size_wh[1]
    columns = (np.arange(size_wh[0]) + 0.5) * width / size_wh[0]
    resized: Bitmap = bitmap[rows.astype(np.intp)[:, None], columns.astype(np.intp)]
    return resized


def _polyline_to_labels(doc: Mapping[str, Any], scale: NDArray[np.float64], shared: dict[str, Any]) -> list[AnyLabel]:
    rings = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) * scale for ring in doc.get("points") or () if ring]
    if not (doc.get("closed") or doc.get("filled")):
        return [Polyline(points=ring, **shared) for ring in rings]
    if doc.get("rotation") is not None and len(rings) == 1:
        box = _rectangle(rings[0])
        if box is not None:
            x, y, width, height, rotation = box
            return [Box(x=x, y=y, width=width, height=height, rotation=rotation, **shared)]
    return [Polygon(parts=rings_to_parts(rings), **shared)] if rings else []


def _rectangle(ring: Points) -> Place | None:
    """The turned box whose corners these are, or None when somebody pulled it out of shape."""
    if len(ring) != 4:
        return None
    centre = ring.mean(axis=0)
    across, down = ring[1] - ring[0], ring[3] - ring[0]
    width, height = math.hypot(*across), math.hypot(*down)
    slack = 1e-6 * (width + height)
    square = abs(float(across @ down)) <= slack * max(width, height, 1e-12)
    if not square or bool(np.abs(ring[0] + ring[2] - ring[1] - ring[3]).max() > slack):
        return None
    angle = math.degrees(math.atan2(across[1], across[0]))
    x, y = float(centre[0] - width / 2), float(centre[1] - height / 2)
    return x, y, width, height, angle % 360


def rings_to_parts(rings: Sequence[Points]) -> tuple[Part, ...]:
    """Rings of one closed Polyline, which fill even-odd: those inside another are its holes, others are parts."""
    if len(rings) == 1:
        return (Part(rings[0]),)
    inside_of = [
        [i for i, outer in enumerate(rings) if i != j and _mostly_inside(ring, outer)] for j, ring in enumerate(rings)
    ]
    holes: dict[int, list[Points]] = {}
    exteriors = []
    for number, around in enumerate(inside_of):
        if len(around) % 2 == 0:
            exteriors.append(number)
        else:
            innermost = max(around, key=lambda i: len(inside_of[i]))
            holes.setdefault(innermost, []).append(rings[number])
    return tuple(Part(rings[i], tuple(holes.get(i, ()))) for i in exteriors)


def _mostly_inside(ring: Points, outer: Points) -> bool:
    """Whether more than half of a ring's points lie inside another (points on the edge may count either way)."""
    if len(outer) < 3:
        return False
    x, y = ring[:, :1], ring[:, 1:]
    (x0, y0), (x1, y1) = outer.T, np.roll(outer, -1, axis=0).T
    spans = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = spans & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return bool((crossed.sum(axis=1) % 2).mean() > 0.5)


def _keypoint_to_label(doc: Mapping[str, Any], scale: NDArray[np.float64], shared: dict[str, Any]) -> Keypoints:
    points = np.asarray(doc.get("points") or (), dtype=np.float64).reshape(-1, 2) * scale
    absent: NDArray[np.bool_] = np.isnan(points).any(axis=1)  # type: ignore[assignment]
    kept = doc.get("visibility") or ()
    visibility: tuple[Visibility, ...] = ()
    if len(kept) == len(points) or absent.any():
        values = kept if len(kept) == len(points) else [Visibility.VISIBLE] * len(points)
        visibility = tuple(Visibility.ABSENT if gone else Visibility(v) for gone, v in zip(absent, values, strict=True))
    points[absent] = 0.0
    box = doc.get("box")
    place = tuple(float(box[i] * scale[i % 2]) for i in range(4)) if box else None
    names = tuple(doc.get("names") or ())
    return Keypoints(
        points=points,
        names=names if len(names) == len(points) else (),
        visibility=visibility,
        box=(place[0], place[1], place[2], place[3]) if place else None,
        **shared,
    )


def unpack_mask(data: bytes) -> Bitmap:
    """Raises ValueError: not a serialised array."""
    try:
        with io.BytesIO(zlib.decompress(data)) as buffer:
            array = np.load(buffer, allow_pickle=False)
    except zlib.error as error:
        raise ValueError(f"a mask cannot be read ({error})") from error
    bitmap: Bitmap = (array if array.ndim == 2 else array[..., 0]) != 0
    return bitmap
