"""Labels as the shapes and tags of CVAT's API.

- A polygon is one ring in CVAT: parts become shapes that share a group, holes are filled and counted.
  As a mask both survive.
- A mask is its run lengths, row by row and background first, then left, top, right and bottom of its window, the
  last pixel included. It never reaches beyond the image.
- A rectangle keeps its rotation, clockwise in [0, 360).
- A skeleton has an element for each point of its definition; an absent point is `outside`.
- `score` is CVAT's own since 2.73 and older servers pass over it; as an attribute it is written in the unit of the
  attribute: a number attribute whose highest value is above 1 takes per cent.
- A shape whose type the label does not allow is left out: the server would take it, and nobody could draw another.
- What reaches beyond the image is cut off at its border, and what lies outside or has no area is left out: the server
  takes both as they are.
- Attributes have the values that their kind allows: numbers within their range and on its steps, yes or no, choices.
- `source` is `auto` for what a model found and `file` for the rest.
Source: the OpenAPI document of CVAT 2.73.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from specrun.formats.cvat_api_bounds import inside_image
from specrun.formats.cvat_api_values import AttributeTarget, allowed_value
from specrun.formats.geometry import (
    bitmap_to_parts,
    box_corners,
    mask_box,
    points_box,
    polygon_area,
    polygon_box,
)
from specrun.formats.nouns import noun_of
from specrun.formats.raster import rasterize
from specrun.formats.rle import bitmap_to_cvat_rle
from specrun.formats.simplify import simplify_ring
from specrun.formats.tally import Tally
from specrun.model.labels import (
    AnyLabel,
    Bitmap,
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

Shape = Literal["polygon", "mask", "rectangle", "points", "skeleton"]
Json = dict[str, Any]
ANY = "any"


@dataclass(frozen=True)
class LabelTarget:
    """A label in CVAT. points: of a skeleton, by name in its order. type: the shape that it allows, or any."""

    id: int
    attributes: Mapping[str, AttributeTarget] = field(default_factory=dict)
    points: Mapping[str, LabelTarget] = field(default_factory=dict)
    type: str = ANY

    def allows(self, shape: str) -> bool:
        return self.type in (ANY, shape)


@dataclass(frozen=True)
class Writing:
    """How labels are written. shape: None keeps each label's own. simplify: pixels that an outline of a mask may be
    off as a polygon. confidence: the attribute that takes the score, where a label has it."""

    shape: Shape | None = None
    simplify: float = 1.0
    confidence: str = "confidence"
    lost: Tally = field(default_factory=Tally)


def labels_to_cvat(
    labels: Sequence[tuple[AnyLabel, LabelTarget]], frame: int, size_wh: tuple[int, int], writing: Writing
) -> dict[str, list[Json]]:
    """`{"tags": […], "shapes": […]}` of one frame. size_wh: of the frame. What is lost is counted in `writing.lost`."""
    found: dict[str, list[Json]] = {"tags": [], "shapes": []}
    groups = _Groups(labels)
    for label, target in labels:
        shared: Json = {"frame": frame, "label_id": target.id, "source": "file" if label.score is None else "auto"}
        shared["attributes"] = attributes_to_cvat(label, target, writing)
        if isinstance(label, Tag):
            if _is_allowed("tag", label, target, writing):
                found["tags"].append({**shared, "group": label.group or 0})
            continue
        drawn = (shape for shape in _shapes(label, target, size_wh, writing))
        allowed = (shape for shape in drawn if _is_allowed(shape["type"], label, target, writing))
        made = [
            inside
            for shape in allowed
            if (inside := inside_image(shape, noun_of(label), size_wh, writing.lost)) is not None
        ]
        group = label.group or (groups.free() if len(made) > 1 else 0)
        shared |= {"group": group, "z_order": label.z_order, "occluded": label.occluded}
        if label.score is not None:
            shared["score"] = min(max(float(label.score), 0.0), 1.0)
        found["shapes"] += [_placed(shape, shared) for shape in made]
    return found


def _placed(shape: Json, shared: Json) -> Json:
    """With what all shapes of a label share; a skeleton's points stand on the same frame."""
    if "elements" not in shape:
        return {**shared, **shape}
    of_points = {"frame": shared["frame"], "source": shared["source"]}
    return {**shared, **shape, "elements": [{**of_points, **element} for element in shape["elements"]]}


def label_area(label: AnyLabel) -> float | None:
    """Square pixels; None: points, lines and tags have none."""
    match label:
        case Box():
            return label.width * label.height
        case Polygon():
            return polygon_area(label.parts)
        case Mask():
            return float(label.bitmap.sum())
        case _:
            return None


def attributes_to_cvat(label: AnyLabel, target: LabelTarget, writing: Writing) -> list[Json]:
    """Those that the label has in CVAT; the others are counted, but for a skeleton's points' own."""
    values = dict(label.attributes)
    if label.score is not None and writing.confidence in target.attributes:
        values.setdefault(writing.confidence, _scaled(label.score, target.attributes[writing.confidence]))
    of_points = tuple(f"{name}." for name in target.points)
    written: list[Json] = []
    for name, value in values.items():
        attribute = target.attributes.get(name)
        if attribute is None:
            if not (of_points and name.startswith(of_points)):
                writing.lost.add("attribute", "{are} not in CVAT's labels and {were} left out")
            continue
        text = allowed_value(attribute, value, writing.lost)
        if text is not None:
            written.append({"spec_id": attribute.id, "value": text})
    return written


def _is_allowed(shape: str, label: AnyLabel, target: LabelTarget, writing: Writing) -> bool:
    if target.allows(shape):
        return True
    wanted = f"cannot be drawn as {shape} with a label of type {target.type} and {{were}} left out"
    writing.lost.add(noun_of(label), wanted)
    return False


def _scaled(score: float, attribute: AttributeTarget) -> float:
    """Per cent where the greatest value says so, on the attribute's own steps."""
    try:
        least, greatest, step = (float(value) for value in attribute.values[:3])
    except ValueError:
        return round(score, 4)
    value = score * 100 if greatest > 1 else score
    value = least + round((value - least) / step) * step if step > 0 else value
    return round(min(max(value, least), greatest), 6)


class _Groups:
    """Numbers for shapes that belong together and came without one."""

    def __init__(self, labels: Sequence[tuple[AnyLabel, LabelTarget]]) -> None:
        self._last = max((label.group or 0 for label, _ in labels), default=0)

    def free(self) -> int:
        self._last += 1
        return self._last


def _shapes(label: AnyLabel, target: LabelTarget, size_wh: tuple[int, int], writing: Writing) -> Iterator[Json]:
    if label.crowd:
        writing.lost.add("crowd", "{are} sent like any other object")
    match writing.shape or _own_shape(label, target):
        case "polygon":
            yield from _polygons(label, writing)
        case "mask":
            yield from _masks(label, size_wh, writing)
        case "rectangle":
            yield from _rectangles(label, writing)
        case "points":
            yield from _points(label, writing)
        case "skeleton":
            yield from _skeletons(label, target, writing)
        case "polyline":
            assert isinstance(label, Polyline)
            yield {"type": "polyline", "points": _flat(label.points)}


def _own_shape(label: AnyLabel, target: LabelTarget) -> Shape | Literal["polyline"]:
    match label:
        case Box():
            return "rectangle"
        case Mask():
            return "mask"
        case Polyline():
            return "polyline"
        case Keypoints():
            return "skeleton" if target.points else "points"
        case _:
            return "polygon"


def _polygons(label: AnyLabel, writing: Writing) -> Iterator[Json]:
    match label:
        case Polygon():
            parts: Sequence[Part] = label.parts
        case Mask():
            parts = _moved_parts(label, writing.simplify)
        case Box():
            parts = (Part(box_corners(label)),)
        case _:
            _refuse(label, "polygons", writing)
            return
    holes = sum(len(part.holes) for part in parts)
    writing.lost.add("hole", "{are} filled, since CVAT's polygons have none: shape: mask keeps them", holes)
    if len(parts) > 1:
        writing.lost.add(noun_of(label), "of several parts {are} sent as polygons that share a group")
    for part in parts:
        if len(part.exterior) >= 3:
            yield {"type": "polygon", "points": _flat(part.exterior)}
        else:
            writing.lost.add("polygon", "{have} fewer than three points and {were} left out")


def _moved_parts(mask: Mask, tolerance: float) -> list[Part]:
    """Outlines in the image, simplified."""
    moved = np.array([mask.left, mask.top], dtype=np.float64)
    return [Part(simplify_ring(part.exterior, tolerance) + moved, part.holes) for part in bitmap_to_parts(mask.bitmap)]


def _masks(label: AnyLabel, size_wh: tuple[int, int], writing: Writing) -> Iterator[Json]:
    match label:
        case Polygon():
            placed: tuple[Bitmap, int, int] = (rasterize(label.parts, size_wh), 0, 0)
        case Mask():
            placed = (label.bitmap, label.left, label.top)
        case Box():
            placed = (rasterize((Part(box_corners(label)),), size_wh), 0, 0)
        case _:
            _refuse(label, "masks", writing)
            return
    points = mask_points(*placed, size_wh)
    if points is None:
        writing.lost.add(noun_of(label), "without a pixel in the image {were} left out")
    else:
        yield {"type": "mask", "points": points}


def mask_points(bitmap: Bitmap, left: int, top: int, size_wh: tuple[int, int]) -> list[float] | None:
    """Run lengths and window of the pixels that lie in the image; None: there are none."""
    inside = bitmap[max(-top, 0) : max(size_wh[1] - top, 0), max(-left, 0) : max(size_wh[0] - left, 0)]
    left, top = max(left, 0), max(top, 0)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        return None
    cut = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    window = (left + columns[0], top + rows[0], left + columns[-1], top + rows[-1])
    return [float(value) for value in (*bitmap_to_cvat_rle(cut), *window)]


def _rectangles(label: AnyLabel, writing: Writing) -> Iterator[Json]:
    rotation = 0.0
    match label:
        case Box():
            box: tuple[float, float, float, float] | None = (label.x, label.y, label.width, label.height)
            rotation = label.rotation % 360
        case Polygon():
            box = polygon_box(label.parts) if any(len(part.exterior) for part in label.parts) else None
        case Mask():
            box = mask_box(label)
        case Keypoints():
            seen = _seen(label)
            box = label.box or (points_box(seen) if len(seen) else None)
        case Polyline():
            box = points_box(label.points) if len(label.points) else None
        case Tag():
            box = None
    if box is None:
        _refuse(label, "rectangles", writing)
        return
    left, top, width, height = box
    corners = [float(left), float(top), float(left + width), float(top + height)]
    yield {"type": "rectangle", "points": corners, "rotation": float(rotation)}


def _points(label: AnyLabel, writing: Writing) -> Iterator[Json]:
    if isinstance(label, Keypoints):
        seen = _seen(label)
        if len(seen):
            yield {"type": "points", "points": _flat(seen)}
        else:
            writing.lost.add(noun_of(label), "without a visible point {were} left out")
        return
    boxes = [shape["points"] for shape in _rectangles(label, writing)]
    for left, top, right, bottom in boxes:
        writing.lost.add(noun_of(label), "{are} sent as the point in their middle")
        yield {"type": "points", "points": [(left + right) / 2, (top + bottom) / 2]}


def _skeletons(label: AnyLabel, target: LabelTarget, writing: Writing) -> Iterator[Json]:
    names = tuple(target.points)
    if not isinstance(label, Keypoints) or not names:
        _refuse(label, "skeletons", writing)
        return
    own = label.names or (names if len(label.points) == len(names) else ())
    if not own:
        writing.lost.add(noun_of(label), "{have} another number of points than the skeleton and {were} left out")
        return
    unknown = len(set(own) - set(names))
    writing.lost.add("point", "{have} a name that the skeleton lacks and {were} left out", unknown)
    places = {name: index for index, name in enumerate(own)}
    yield {"type": "skeleton", "points": [], "elements": _elements(label, target, places, writing)}


def _elements(label: Keypoints, target: LabelTarget, places: Mapping[str, int], writing: Writing) -> list[Json]:
    """A point that the label does not have lies where the others are, unseen, as CVAT's editor wants a place."""
    seen = _seen(label)
    middle = seen.mean(axis=0).tolist() if len(seen) else [0.0, 0.0]
    elements = []
    for name, point in target.points.items():
        index = places.get(name)
        visibility = _visibility(label, index)
        place = middle if index is None or visibility is Visibility.ABSENT else label.points[index].tolist()
        prefix = f"{name}."
        own = {key[len(prefix) :]: value for key, value in label.attributes.items() if key.startswith(prefix)}
        known = {key: value for key, value in own.items() if key in point.attributes}
        texts = {key: allowed_value(point.attributes[key], value, writing.lost) for key, value in known.items()}
        written = [
            {"spec_id": point.attributes[key].id, "value": text} for key, text in texts.items() if text is not None
        ]
        writing.lost.add("attribute", "{are} not in CVAT's labels and {were} left out", len(own) - len(known))
        elements.append(
            {
                "type": "points",
                "label_id": point.id,
                "points": [float(value) for value in place],
                "occluded": visibility is Visibility.OCCLUDED,
                "outside": visibility is Visibility.ABSENT,
                "attributes": written,
            }
        )
    return elements


def _visibility(label: Keypoints, index: int | None) -> Visibility:
    if index is None:
        return Visibility.ABSENT
    return label.visibility[index] if label.visibility else Visibility.VISIBLE


def _seen(label: Keypoints) -> Points:
    if not label.visibility:
        return label.points
    seen: Points = label.points[np.array([value is not Visibility.ABSENT for value in label.visibility], dtype=bool)]
    return seen


def _refuse(label: AnyLabel, as_what: str, writing: Writing) -> None:
    writing.lost.add(noun_of(label), f"cannot be sent as {as_what} and {{were}} left out")


def _flat(points: Points) -> list[float]:
    values: list[float] = np.asarray(points, dtype=np.float64).ravel().tolist()
    return values
