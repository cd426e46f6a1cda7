"""Predictions as COCO: a whole file with scores, whose annotations alone are COCO's results format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from specrun.formats.geometry import XYWH, mask_box, points_box, polygon_box
from specrun.formats.rle import counts_to_string
from specrun.kinds.predictions.images import label_window
from specrun.model.labels import AnyLabel, Bitmap, Box, Keypoints, Mask, Points, Polygon, Sample, Visibility


class CocoRows:
    """A COCO file whose annotations have scores; its annotations alone are COCO's results format."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._categories = {name: number for number, name in enumerate(classes, start=1)}
        self._images: list[str] = []
        self._annotations: list[str] = []

    def add(self, sample: Sample, shapes: Iterable[tuple[str, str]]) -> None:
        """shapes: of `coco_annotations`. A class that is not known gets the next number."""
        image_id = len(self._images) + 1
        width, height = sample.size_wh
        image = {"id": image_id, "file_name": sample.name, "width": width, "height": height}
        self._images.append(json.dumps(image, separators=(",", ":")))
        for name, shape in shapes:
            category = self._categories.setdefault(name, len(self._categories) + 1)
            head = f'{{"id":{len(self._annotations) + 1},"image_id":{image_id},"category_id":{category},'
            self._annotations.append(head + shape[1:])

    def save(self, path: Path) -> None:
        rows = [{"id": number, "name": name} for name, number in self._categories.items()]
        with open(path, "w", encoding="utf-8") as file:
            file.write('{"info":{},"images":[' + ",".join(self._images) + '],"annotations":[')
            file.write(",".join(self._annotations) + '],"categories":' + json.dumps(rows) + "}")


def coco_annotations(sample: Sample, labels: Sequence[AnyLabel]) -> Iterator[tuple[str, str]]:
    """Class and JSON of each label that COCO can hold, without its numbers."""
    for label in labels:
        shape = _coco_shape(label, sample.size_wh)
        if shape is not None:
            row = {**shape, "score": label.score, "iscrowd": 0}
            yield label.label, json.dumps(row, separators=(",", ":"))


def label_box(label: AnyLabel, size_wh: tuple[int, int]) -> XYWH | None:
    """The upright box of a label: a mask's window, since a prediction's is the box that the model gave with it."""
    match label:
        case Mask():
            return float(label.left), float(label.top), float(label.bitmap.shape[1]), float(label.bitmap.shape[0])
        case Box(rotation=0):
            return label.x, label.y, label.width, label.height
        case Keypoints():
            seen = visible_points(label)
            return label.box or (points_box(seen) if len(seen) else None)
        case Polygon():
            return polygon_box(label.parts)
        case _:
            window = label_window(label, size_wh)
            return mask_box(Mask(label="", bitmap=window[0], left=window[1], top=window[2])) if window else None


def truth_box(label: AnyLabel, size_wh: tuple[int, int]) -> XYWH | None:
    """As `label_box`, but a mask's is that around its pixels, since nobody gave one with it."""
    if not isinstance(label, Mask):
        return label_box(label, size_wh)
    window = label_window(label, size_wh)
    return mask_box(Mask(label="", bitmap=window[0], left=window[1], top=window[2])) if window else None


def visible_points(label: Keypoints) -> Points:
    """Without those that are not in the image, whose place is often (0, 0)."""
    if not label.visibility:
        return label.points
    seen = np.flatnonzero([v != Visibility.ABSENT for v in label.visibility])
    return np.take(label.points, seen, axis=0)


def _coco_shape(label: AnyLabel, size_wh: tuple[int, int]) -> dict[str, Any] | None:
    box = label_box(label, size_wh)
    if box is None:
        return None
    shape: dict[str, Any] = {"bbox": list(box), "area": box[2] * box[3]}
    if isinstance(label, Mask):
        bitmap, left, top = label_window(label, size_wh) or (label.bitmap[:0, :0], 0, 0)
        counts = counts_to_string(window_to_counts(bitmap, left, top, size_wh))
        shape["segmentation"] = {"size": [size_wh[1], size_wh[0]], "counts": counts}
        shape["area"] = int(bitmap.sum())
    if isinstance(label, Keypoints):
        shown_points = [(float(x), float(y), int(v)) for (x, y), v in zip(label.points, label.visibility, strict=True)]
        shape["keypoints"] = [value for point in shown_points for value in point]
        shape["num_keypoints"] = sum(1 for _, _, v in shown_points if v)
    return shape


def window_to_counts(bitmap: Bitmap, left: int, top: int, size_wh: tuple[int, int]) -> list[int]:
    """COCO's uncompressed counts of a bitmap that lies at (left, top) of an image, without making the image."""
    width, height = size_wh
    edges = np.diff(np.pad(bitmap, ((1, 1), (0, 0))).astype(np.int8), axis=0)
    columns, rows = np.nonzero(edges.T)
    places = (left + columns).astype(np.int64) * height + top + rows
    # A run that reaches the bottom goes on at the top of the next column: its end is the next one's start.
    ends, starts = places[1:-1:2], places[2::2]
    joined = np.flatnonzero(ends == starts)
    borders = np.delete(places, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    counts: list[int] = np.diff(np.concatenate(([0], borders, [width * height]))).tolist()
    return counts if not len(borders) or counts[-1] else counts[:-1]
