"""Labels as the documents that FiftyOne keeps in MongoDB (the layout stands in `label_fields`)."""

from __future__ import annotations

import io
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from specrun.clients.fiftyone.label_fields import Doc, attribute_key
from specrun.model.labels import AnyLabel, Bitmap, Box, Keypoints, Mask, Points, Polygon, Polyline, Tag, Visibility


def family_of(label: AnyLabel) -> str:
    match label:
        case Tag():
            return "classifications"
        case Box():
            return "polylines" if label.rotation % 360 else "detections"
        case Mask():
            return "detections"
        case Polygon() | Polyline():
            return "polylines"
        case Keypoints():
            return "keypoints"


def count_families(labels: Iterable[AnyLabel]) -> Counter[str]:
    return Counter(family_of(label) for label in labels)


def labels_to_docs(
    labels: Sequence[AnyLabel], size_wh: tuple[int, int], new_id: Callable[[], object]
) -> dict[str, list[Doc]]:
    """Labels in pixels as documents by family. new_id: makes each document's `_id`."""
    scale = np.array([1 / size_wh[0], 1 / size_wh[1]])
    found: dict[str, list[Doc]] = {}
    for number, label in enumerate(labels):
        docs = found.setdefault(family_of(label), [])
        for doc in _shape_docs(label, scale, number):
            docs.append({"_id": new_id(), **doc, **_common(label)})
    return found


def _shape_docs(label: AnyLabel, scale: NDArray[np.float64], number: int) -> list[Doc]:
    match label:
        case Tag(others=()):
            return [{"_cls": "Classification"}]
        case Tag():
            names, scores = [name for name, _ in label.others], [float(score) for _, score in label.others]
            return [{"_cls": "Classification", "other_classes": names, "other_confidences": scores}]
        case Box() if not label.rotation % 360:
            place = _relative_box((label.x, label.y, label.width, label.height), scale)
            return [{"_cls": "Detection", "attributes": {}, "bounding_box": place}]
        case Box():
            ring = (_turned_corners(label) * scale).tolist()
            return [_polyline_doc([ring], closed=True) | {"rotation": float(label.rotation)}]
        case Mask():
            height, width = label.bitmap.shape
            place = _relative_box((label.left, label.top, width, height), scale)
            return [{"_cls": "Detection", "attributes": {}, "bounding_box": place, "mask": pack_mask(label.bitmap)}]
        case Polygon():
            shared = {"part_of": number} if len(label.parts) > 1 else {}
            return [
                _polyline_doc([(ring * scale).tolist() for ring in (part.exterior, *part.holes)], closed=True) | shared
                for part in label.parts
            ]
        case Polyline():
            return [_polyline_doc([(label.points * scale).tolist()], closed=False)]
        case Keypoints():
            return [_keypoint_doc(label, scale)]


def _common(label: AnyLabel) -> Doc:
    doc: Doc = {"label": label.label, "tags": []}
    if label.source_label is not None:
        doc["source_label"] = label.source_label
    if label.group is not None:
        doc["group"] = label.group
    if label.z_order:
        doc["z_order"] = label.z_order
    if label.score is not None:
        doc["score" if isinstance(label, Keypoints) else "confidence"] = float(label.score)
    if label.occluded:
        doc["occluded"] = True
    if label.crowd:
        doc["iscrowd"] = True
    if label.id is not None:
        doc["source_id"] = label.id
    for name, value in label.attributes.items():
        doc[attribute_key(name)] = value
    return doc


def _polyline_doc(rings: list[list[list[float]]], *, closed: bool) -> Doc:
    return {"_cls": "Polyline", "attributes": {}, "points": rings, "closed": closed, "filled": closed}


def _keypoint_doc(label: Keypoints, scale: NDArray[np.float64]) -> Doc:
    points = label.points * scale
    doc: Doc = {"_cls": "Keypoint", "attributes": {}}
    if label.visibility:
        points[[value is Visibility.ABSENT for value in label.visibility]] = math.nan
        doc["visibility"] = [int(value) for value in label.visibility]
    doc["points"] = points.tolist()
    if label.names:
        doc["names"] = list(label.names)
    if label.box is not None:
        doc["box"] = _relative_box(label.box, scale)
    return doc


def _relative_box(box: tuple[float, float, float, float], scale: NDArray[np.float64]) -> list[float]:
    x, y, width, height = box
    return [float(x * scale[0]), float(y * scale[1]), float(width * scale[0]), float(height * scale[1])]


def _turned_corners(box: Box) -> Points:
    """(4, 2), from the top-left corner clockwise."""
    angle = math.radians(box.rotation)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    half = np.array([box.width / 2, box.height / 2])
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * half
    centre = np.array([box.x, box.y]) + half
    turned: Points = corners @ turn + centre
    return turned


def pack_mask(bitmap: Bitmap) -> bytes:
    """As FiftyOne serialises a bool array."""
    with io.BytesIO() as buffer:
        np.save(buffer, np.ascontiguousarray(bitmap, dtype=bool), allow_pickle=False)
        return zlib.compress(buffer.getvalue())
