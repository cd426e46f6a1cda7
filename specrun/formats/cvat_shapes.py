"""CVAT's shapes, as its XML writes them, to labels.

- An ellipse becomes a polygon that stays within `ELLIPSE_TOLERANCE_PX` of it.
- A skeleton's points come in the order of its definition; a point that is `outside` is absent and keeps its
  place, a point that is not listed is absent at (0, 0). Attributes of a point are named `point.attribute`.
- Attributes have the type that the label's definition gives them: checkbox → bool, number → float; a value
  that does not fit its type stays text.
- `source` says who drew a shape; it becomes an attribute unless it is `manual` or `file` (an import).
Source: CVAT's "XML annotation format" page, versions 1.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from specrun.errors import FormatError
from specrun.formats.plain_text import plain_text
from specrun.formats.rle import cvat_rle_to_bitmap
from specrun.formats.xml_elements import Element
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

ELLIPSE_TOLERANCE_PX = 0.05
NO_COUNTERPART = "{have} no counterpart here and {were} left out"
"""Of a shape that `shape_to_label` does not know."""
_NUMBERS = b"0123456789.+-eE "
_DRAWN_BY_PEOPLE = ("", "manual", "file")


@dataclass
class Definitions:
    """The labels that the file's `meta` defines.

    classes: in order, without the points of skeletons. input_types: by (label, attribute).
    points: the names of a skeleton's points, by skeleton.
    """

    classes: list[str] = field(default_factory=list)
    input_types: dict[tuple[str, str], str] = field(default_factory=dict)
    points: dict[str, list[str]] = field(default_factory=dict)


def read_definitions(labels: Element) -> Definitions:
    """labels: the `<labels>` element."""
    found = Definitions()
    for label in labels.all("label"):
        name, parent = label.value("name"), label.value("parent")
        if parent:
            found.points.setdefault(parent, []).append(name)
        else:
            found.classes.append(name)
        attributes = label.child("attributes")
        for attribute in attributes.all("attribute") if attributes else ():
            found.input_types[name, attribute.value("name")] = attribute.value("input_type")
    return found


def shape_to_label(shape: Element, definitions: Definitions, path: Path, name: str | None = None) -> AnyLabel | None:
    """name: the class, where the element itself does not carry it (in tracks). None: no such shape here.

    Raises FormatError with the line.
    """
    read = _SHAPES.get(shape.tag)
    if read is None:
        return None
    try:
        label = plain_text(shape.attributes["label"] if name is None else name)
        return read(shape, definitions, label, _shared(shape, definitions, label))
    except KeyError as error:
        raise FormatError(f"{path}:{shape.line}: <{shape.tag}> has no {error.args[0]}.") from error
    except (ValueError, OverflowError, FormatError) as error:
        raise FormatError(f"{path}:{shape.line}: <{shape.tag}> cannot be read: {error}.") from error


def _shared(shape: Element, definitions: Definitions, label: str) -> dict[str, Any]:
    raw = shape.attributes
    attributes = _attributes(shape, definitions, label)
    source = raw.get("source", "")
    if source not in _DRAWN_BY_PEOPLE:
        attributes.setdefault("source", source)
    group = int(raw.get("group_id") or 0)
    return {
        "label": label,
        "attributes": attributes,
        "group": group or None,
        "z_order": int(raw.get("z_order") or 0),
        "occluded": raw.get("occluded") == "1",
    }


def _attributes(element: Element, definitions: Definitions, label: str) -> dict[str, AttributeValue]:
    values: dict[str, AttributeValue] = {}
    for child in element.all("attribute"):
        name = plain_text(child.attributes["name"])
        values[name] = typed_value(plain_text(child.text.strip()), definitions.input_types.get((label, name), ""))
    return values


def typed_value(text: str, input_type: str) -> AttributeValue:
    """checkbox → bool, number → float, everything else and whatever does not fit → the text."""
    if input_type == "checkbox" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if input_type == "number":
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text
    return text


def _number(shape: Element, name: str, default: str | None = None) -> float:
    text = shape.attributes[name] if default is None else shape.attributes.get(name, default)
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{name} is {text}")
    return value


def _points(shape: Element, at_least: int) -> Points:
    text = shape.attributes["points"]
    flat = np.array(text.replace(";", ",").split(","), dtype=np.float64)
    if not np.isfinite(flat).all():
        raise ValueError("a coordinate is not a finite number")
    if text.encode().translate(None, _NUMBERS) != b",;" * (flat.size // 2 - 1) + b",":
        raise ValueError("its points are not pairs x,y separated by ;")
    points = flat.reshape(-1, 2)
    if len(points) < at_least:
        raise ValueError(f"it has {len(points)} points and needs {at_least}")
    return points


def _box(shape: Element, definitions: Definitions, label: str, shared: dict[str, Any]) -> AnyLabel:
    left, top = _number(shape, "xtl"), _number(shape, "ytl")
    width, height = _number(shape, "xbr") - left, _number(shape, "ybr") - top
    if width < 0 or height < 0:
        raise ValueError("its right or lower edge comes before the left or upper one")
    return Box(x=left, y=top, width=width, height=height, rotation=_number(shape, "rotation", "0"), **shared)


def _polygon(shape: Element, definitions: Definitions, label: str, shared: dict[str, Any]) -> AnyLabel:
    return Polygon(parts=(Part(_points(shape, 3)),), **shared)


def _polyline(shape: Element, definitions: Definitions, label: str, shared: dict[str, Any]) -> AnyLabel:
    return Polyline(points=_points(shape, 2), **shared)


def _bare_points(shape: Element, definitions: Definitions, label: str, shared: dict[str, Any]) -> AnyLabel:
    return Keypoints(points=_points(shape, 1), **shared)


def _mask(shape: Element, definitions: Definitions, label: str, shared: dict[str, Any]) -> AnyLabel:
    counts = [int(value) for value in shape.attributes["rle"].split(",")]
    size = (int(_number(shape, "width")), int(_number(shape, "height")))
    if min(size) <= 0:
        raise ValueError("its width or height is not positive")
    bitmap = cvat_rle_to_bitmap(counts, size)
    return Mask(bitmap=bitmap, left=int(_number(shape, "left")), top=int(_number(shape, "top")), **shared)


def _ellipse(shape: Element, definitions: Definitions, label: str, shared: dict[str, Any]) -> AnyLabel:
    centre = (_number(shape, "cx"), _number(shape, "cy"))
    radii = (_number(shape, "rx"), _number(shape, "ry"))
    return Polygon(parts=(Part(ellipse_to_ring(centre, radii, _number(shape, "rotation", "0"))),), **shared)


def ellipse_to_ring(centre: tuple[float, float], radii: tuple[float, float], rotation: float) -> Points:
    """rotation: degrees clockwise. The number of points keeps the chords within ELLIPSE_TOLERANCE_PX.

    Raises ValueError: a radius is not positive.
    """
    if min(radii) <= 0:
        raise ValueError("a radius is not positive")
    step = math.acos(max(1 - ELLIPSE_TOLERANCE_PX / max(radii), 0.0))
    count = 4 * min(max(math.ceil(math.pi / step / 4), 4), 180)
    angles = np.arange(count) * (2 * math.pi / count)
    x, y = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
    turn = math.radians(rotation)
    turned_x = x * math.cos(turn) - y * math.sin(turn)
    turned_y = x * math.sin(turn) + y * math.cos(turn)
    return np.stack([centre[0] + turned_x, centre[1] + turned_y], axis=1)


def _skeleton(shape: Element, definitions: Definitions, label: str, shared: dict[str, Any]) -> AnyLabel:
    listed = {plain_text(point.attributes["label"]): point for point in shape.all("points")}
    defined = definitions.points.get(label, [])
    names = [*defined, *(name for name in listed if name not in defined)]
    if not names:
        raise ValueError("it has no points")
    attributes = dict(shared["attributes"])
    places: list[tuple[float, float]] = []
    visibility: list[Visibility] = []
    for name in names:
        point = listed.get(name)
        if point is None:
            places.append((0.0, 0.0))
            visibility.append(Visibility.ABSENT)
            continue
        x, y = _points(point, 1)[0].tolist()
        places.append((x, y))
        visibility.append(_point_visibility(point))
        attributes |= {f"{name}.{key}": value for key, value in _attributes(point, definitions, name).items()}
    shared = shared | {"attributes": attributes}
    return Keypoints(points=np.array(places), names=tuple(names), visibility=tuple(visibility), **shared)


def _point_visibility(point: Element) -> Visibility:
    if point.attributes.get("outside") == "1":
        return Visibility.ABSENT
    return Visibility.OCCLUDED if point.attributes.get("occluded") == "1" else Visibility.VISIBLE


def _tag(shape: Element, definitions: Definitions, label: str, shared: dict[str, Any]) -> AnyLabel:
    return Tag(**shared)


_SHAPES: Mapping[str, Callable[[Element, Definitions, str, dict[str, Any]], AnyLabel]] = {
    "box": _box,
    "polygon": _polygon,
    "polyline": _polyline,
    "points": _bare_points,
    "mask": _mask,
    "ellipse": _ellipse,
    "skeleton": _skeleton,
    "tag": _tag,
}
