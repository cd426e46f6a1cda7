"""Annotations as CVAT's API gives them (`/api/tasks/{id}/annotations`) to labels, frame by frame.

- Frames count from 0 within the task; `frames` says which are wanted (not deleted, in the chosen jobs).
- The same shapes as the XML export has, with all digits: the export rounds to hundredths of a pixel.
- A mask is its run lengths and then left, top, right, bottom, all inclusive. An ellipse is its centre, its right end
  and its top. A box may be drawn from any corner.
- A skeleton's points come in the order of its definition; `outside` is absent and keeps its place, a point that is
  not there is absent at (0, 0). Attributes of a point are named `point.attribute`.
- Tracks become a label in each frame where they are (see cvat_motion); `id` is the track's. Mutable attributes hold
  until the next keyframe that sets them.
- `source` says who drew a shape; it becomes an attribute unless it is `manual` or `file`. The server's `score` of
  what people finished is not taken over.
Source: the OpenAPI schema of CVAT 2.73, and its answers beside its exports of the same task.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from specrun.errors import FormatError
from specrun.formats.cvat_motion import Motion, Shape
from specrun.formats.cvat_shapes import ELLIPSE_TOLERANCE_PX, NO_COUNTERPART, ellipse_to_ring, typed_value
from specrun.formats.plain_text import plain_text
from specrun.formats.rle import cvat_rle_to_bitmap
from specrun.formats.tally import Tally
from specrun.model.labels import (
    AnyLabel,
    AttributeValue,
    Box,
    Keypoints,
    Mask,
    Part,
    Points,
    Polygon,
    Polyline,
    Tag,
    Visibility,
)

_DRAWN_BY_PEOPLE = ("", "manual", "file")
Labels = dict[int, list[AnyLabel]]


@dataclass
class LabelBook:
    """The labels of a task by the ids that its annotations use.

    classes: in the server's order, without the points of skeletons. points: sublabel ids of each skeleton, in order.
    """

    classes: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    attributes: dict[int, tuple[str, str]] = field(default_factory=dict)
    points: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: Iterable[Mapping[str, Any]]) -> LabelBook:
        """labels: `/api/labels`, skeletons with their `sublabels`."""
        book = cls()
        for label in labels:
            book._add(label)
            book.classes.append(book.names[int(label["id"])])
        return book

    def _add(self, label: Mapping[str, Any]) -> None:
        self.names[int(label["id"])] = plain_text(str(label["name"]))
        for attribute in label.get("attributes") or ():
            self.attributes[int(attribute["id"])] = (plain_text(str(attribute["name"])), attribute["input_type"])
        sublabels = label.get("sublabels") or ()
        if sublabels:
            self.points[int(label["id"])] = tuple(int(point["id"]) for point in sublabels)
        for point in sublabels:
            self._add(point)

    def values(self, shape: Shape) -> dict[str, AttributeValue]:
        """A shape's attributes by name; values of attributes that are no longer defined are left out."""
        found: dict[str, AttributeValue] = {}
        for value in shape.get("attributes") or ():
            definition = self.attributes.get(int(value["spec_id"]))
            if definition is not None:
                name, input_type = definition
                found[name] = typed_value(plain_text(str(value["value"])).strip(), input_type)
        return found


def read_annotations(
    data: Mapping[str, Any],
    book: LabelBook,
    frames: Collection[int],
    *,
    deleted: Collection[int] = (),
    where: str,
    lost: Tally,
) -> dict[int, tuple[AnyLabel, ...]]:
    """The labels of each of `frames`, tags first, then shapes and tracks in the order of their ids.

    deleted: frames that people took out; keyframes on them do not count. where: names the task in messages.
    lost: is told what was left out or changed its form. Raises FormatError: a shape cannot be read.
    """
    found: Labels = defaultdict(list)
    reader = _Reader(book, where, lost)
    for tag in _by_id(data.get("tags")):
        if tag["frame"] in frames:
            reader.add(found, {**tag, "type": "tag", "id": _among("tag", tag)})
    for shape in _by_id(data.get("shapes")):
        if shape["frame"] in frames:
            reader.add(found, shape)
    for track in _by_id(data.get("tracks")):
        for shape in _track_shapes(track, sorted(frames), deleted):
            reader.add(found, shape)
    return {frame: tuple(found.get(frame, ())) for frame in frames}


def _by_id(things: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    return sorted(things or (), key=lambda thing: int(thing.get("id") or 0))


def _among(sort: str, thing: Mapping[str, Any]) -> str | None:
    """The server numbers tags, shapes and tracks apart, so that all three may have an id."""
    return f"{sort}-{thing['id']}" if thing.get("id") is not None else None


def _track_shapes(track: Mapping[str, Any], frames: Sequence[int], deleted: Collection[int]) -> Iterable[Shape]:
    """The track as shapes, one for each of `frames` (ascending) where it is."""
    motion = Motion.of(track.get("shapes") or (), deleted)
    points = [(element, Motion.of(element.get("shapes") or (), deleted)) for element in track.get("elements") or ()]
    constant = list(track.get("attributes") or ())
    for frame in frames:
        shape = motion.at(frame)
        if shape is None or shape.get("outside"):
            continue
        elements = [
            {
                **at,
                "label_id": element["label_id"],
                "attributes": [*(element.get("attributes") or ()), *at["attributes"]],
            }
            for element, path in points
            if (at := path.at(frame)) is not None
        ]
        if points and all(element.get("outside") for element in elements):
            continue
        whole = {name: track.get(name) for name in ("label_id", "group", "source")}
        yield {
            **shape,
            **whole,
            "id": _among("track", track),
            "frame": frame,
            "elements": elements,
            "attributes": [*constant, *shape["attributes"]],
        }


@dataclass(frozen=True)
class _Reader:
    book: LabelBook
    where: str
    lost: Tally

    def add(self, found: Labels, shape: Shape) -> None:
        kind = str(shape["type"])
        read = _SHAPES.get(kind)
        if read is None:
            self.lost.add(kind if kind.isalpha() else "shape", NO_COUNTERPART)
            return
        name = self.book.names.get(int(shape["label_id"]))
        if name is None:
            self.lost.add("shape", "{have} a label that the task does not define and {were} left out")
            return
        try:
            label = read(shape, self.book, self._shared(shape, name))
        except (KeyError, TypeError, ValueError, OverflowError, FormatError) as error:
            what = f"{self.where}: frame {shape['frame']}: {kind} {shape.get('id')} ({name})"
            raise FormatError(f"{what} cannot be read: {error}.", hint="Open it in CVAT and draw it anew.") from error
        if label is None:
            self.lost.add(kind, "{have} too few points and {were} left out")
            return
        if kind == "ellipse":
            self.lost.add(kind, f"{{were}} turned into polygons, at most {ELLIPSE_TOLERANCE_PX} pixels off")
        found[int(shape["frame"])].append(label)

    def _shared(self, shape: Shape, name: str) -> dict[str, Any]:
        attributes = self.book.values(shape)
        source = plain_text(str(shape.get("source") or ""))
        if source not in _DRAWN_BY_PEOPLE:
            attributes.setdefault("source", source)
        return {
            "label": name,
            "attributes": attributes,
            "group": int(shape.get("group") or 0) or None,
            "z_order": int(shape.get("z_order") or 0),
            "occluded": bool(shape.get("occluded")),
            "id": str(shape["id"]) if shape.get("id") is not None else None,
        }


def _flat(shape: Shape) -> list[float]:
    values = [float(value) for value in shape["points"]]
    if not all(map(math.isfinite, values)):
        raise ValueError("a coordinate is not a finite number")
    return values


def _points(shape: Shape) -> Points:
    flat = _flat(shape)
    if len(flat) % 2:
        raise ValueError("it has an odd number of coordinates")
    return np.array(flat, dtype=np.float64).reshape(-1, 2)


def _box(shape: Shape, book: LabelBook, shared: dict[str, Any]) -> AnyLabel:
    x1, y1, x2, y2 = _flat(shape)
    left, top = min(x1, x2), min(y1, y2)
    rotation = float(shape.get("rotation") or 0)
    return Box(x=left, y=top, width=abs(x2 - x1), height=abs(y2 - y1), rotation=rotation, **shared)


def _polygon(shape: Shape, book: LabelBook, shared: dict[str, Any]) -> AnyLabel | None:
    points = _points(shape)
    return Polygon(parts=(Part(points),), **shared) if len(points) >= 3 else None


def _polyline(shape: Shape, book: LabelBook, shared: dict[str, Any]) -> AnyLabel | None:
    points = _points(shape)
    return Polyline(points=points, **shared) if len(points) >= 2 else None


def _bare_points(shape: Shape, book: LabelBook, shared: dict[str, Any]) -> AnyLabel | None:
    points = _points(shape)
    return Keypoints(points=points, **shared) if len(points) else None


def _ellipse(shape: Shape, book: LabelBook, shared: dict[str, Any]) -> AnyLabel:
    x, y, right, top = _flat(shape)
    ring = ellipse_to_ring((x, y), (abs(right - x), abs(y - top)), float(shape.get("rotation") or 0))
    return Polygon(parts=(Part(ring),), **shared)


def _mask(shape: Shape, book: LabelBook, shared: dict[str, Any]) -> AnyLabel | None:
    flat = _flat(shape)
    if len(flat) < 5:
        return None
    left, top, right, bottom = (int(value) for value in flat[-4:])
    if right < left or bottom < top:
        raise ValueError("its right or lower edge comes before the left or upper one")
    bitmap = cvat_rle_to_bitmap([int(count) for count in flat[:-4]], (right - left + 1, bottom - top + 1))
    return Mask(bitmap=bitmap, left=left, top=top, **shared)


def _skeleton(shape: Shape, book: LabelBook, shared: dict[str, Any]) -> AnyLabel | None:
    there = {int(element["label_id"]): element for element in shape.get("elements") or ()}
    order = book.points.get(int(shape["label_id"]), tuple(there))
    attributes = dict(shared["attributes"])
    places: list[list[float]] = []
    visibility: list[Visibility] = []
    for point in order:
        element = there.get(point)
        places.append(_flat(element)[:2] if element else [0.0, 0.0])
        visibility.append(_visibility(element))
        if element:
            attributes |= {f"{book.names[point]}.{name}": value for name, value in book.values(element).items()}
    if not places:
        return None
    names = tuple(book.names[point] for point in order)
    shared = shared | {"attributes": attributes}
    return Keypoints(points=np.array(places, dtype=np.float64), names=names, visibility=tuple(visibility), **shared)


def _visibility(element: Shape | None) -> Visibility:
    if element is None or element.get("outside"):
        return Visibility.ABSENT
    return Visibility.OCCLUDED if element.get("occluded") else Visibility.VISIBLE


def _tag(shape: Shape, book: LabelBook, shared: dict[str, Any]) -> AnyLabel:
    return Tag(**shared)


_SHAPES: Mapping[str, Callable[[Shape, LabelBook, dict[str, Any]], AnyLabel | None]] = {
    "rectangle": _box,
    "polygon": _polygon,
    "polyline": _polyline,
    "points": _bare_points,
    "mask": _mask,
    "ellipse": _ellipse,
    "skeleton": _skeleton,
    "tag": _tag,
}
