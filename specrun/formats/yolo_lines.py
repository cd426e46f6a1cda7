"""Lines of a YOLO label file to labels. Coordinates are shares of the image's width and height.

- detect: `class cx cy w h`; segment: `class x1 y1 x2 y2 ...`; pose: `class cx cy w h` and x y [v] a point;
  obb: `class x1 y1 x2 y2 x3 y3 x4 y4`.
- Without a task the line decides: five values are a box, more are an outline; with `kpt_shape` it is pose. An
  oriented box cannot be told from an outline of four points, so obb must be said.
- Four corners that are no rectangle become a polygon and are counted.
- Two values a keypoint: a negative one means that the point is absent, as Ultralytics reads it.
Source: the Ultralytics "Detection", "Segmentation", "Pose" and "OBB Datasets" pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from specrun.errors import FormatError
from specrun.formats.reading import Reading
from specrun.formats.rectangles import corners_to_box
from specrun.model.labels import AnyLabel, Box, Keypoints, Part, Points, Polygon, Visibility

YoloTask = Literal["detect", "segment", "pose", "obb"]
TOLERANCE = 0.01
"""How far outside [0, 1] a coordinate may lie before it is a mistake."""


@dataclass(frozen=True)
class LineReader:
    """keypoints: (number, values each) of `kpt_shape`."""

    names: Mapping[int, str]
    task: YoloTask | None
    keypoints: tuple[int, int] | None
    point_names: Mapping[int, tuple[str, ...]]
    reading: Reading

    def read(self, path: Path, size_wh: tuple[int, int]) -> tuple[AnyLabel, ...]:
        """All labels of a file. Raises FormatError with file:line."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: not text ({error.reason}).") from error
        labels: list[AnyLabel] = []
        for number, line in enumerate(text.splitlines(), start=1):
            fields = line.split()
            if not fields:
                continue
            try:
                labels.append(self._label(fields, size_wh))
            except ValueError as error:
                raise FormatError(f"{path}:{number}: {error}.") from error
        return tuple(labels)

    def _label(self, fields: list[str], size_wh: tuple[int, int]) -> AnyLabel:
        index, name = self._class(fields[0])
        values = np.array(fields[1:], dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("a coordinate is not a finite number")
        match self._task(len(values)):
            case "detect":
                self._expect(len(values), 4, "class cx cy w h")
                x, y, width, height = _box(values, size_wh)
                return Box(label=name, x=x, y=y, width=width, height=height)
            case "segment":
                if len(values) < 6 or len(values) % 2:
                    raise ValueError(f"{len(values)} coordinates are no outline of at least three points")
                return Polygon(label=name, parts=(Part(_open(_scaled(values, size_wh))),))
            case "obb":
                self._expect(len(values), 8, "class x1 y1 x2 y2 x3 y3 x4 y4")
                return self._oriented(_scaled(values, size_wh), name)
            case "pose":
                return self._pose(values, index, name, size_wh)

    def _class(self, text: str) -> tuple[int, str]:
        number = float(text)
        if number != int(number):
            raise ValueError(f'the class "{text}" is not a whole number')
        index = int(number)
        if index not in self.names:
            raise ValueError(f"class {index} is not one of the {len(self.names)} classes (0 to {max(self.names)})")
        return index, self.names[index]

    def _task(self, count: int) -> YoloTask:
        if self.task is not None:
            return self.task
        if self.keypoints is not None:
            return "pose"
        return "detect" if count <= 5 else "segment"

    def _expect(self, count: int, wanted: int, form: str) -> None:
        if count != wanted:
            raise ValueError(f"{count} coordinates where {wanted} are needed ({form})")

    def _oriented(self, corners: Points, name: str) -> AnyLabel:
        box = corners_to_box(corners)
        if box is None:
            self.reading.lost.add("box", "{are} no rectangle and {were} turned into polygons")
            return Polygon(label=name, parts=(Part(corners),))
        x, y, width, height, rotation = box
        return Box(label=name, x=x, y=y, width=width, height=height, rotation=rotation)

    def _pose(self, values: Points, index: int, name: str, size_wh: tuple[int, int]) -> AnyLabel:
        if self.keypoints is None:
            raise ValueError("pose labels need `kpt_shape` in data.yaml")
        count, each = self.keypoints
        self._expect(len(values), 4 + count * each, f"class cx cy w h and {count} points of {each} values")
        rows = values[4:].reshape(count, each)
        names = self.point_names.get(index) or tuple(str(i) for i in range(count))
        if each == 3:
            visibility = tuple(_visibility(value) for value in rows[:, 2])
        else:
            visibility = tuple(Visibility.ABSENT if row.min() < 0 else Visibility.VISIBLE for row in rows)
        return Keypoints(
            label=name,
            points=rows[:, :2] * np.array(size_wh, dtype=np.float64),
            names=names,
            visibility=visibility,
            box=_box(values[:4], size_wh),
        )


def _scaled(values: Points, size_wh: tuple[int, int]) -> Points:
    _check_inside(values)
    return values.reshape(-1, 2) * np.array(size_wh, dtype=np.float64)


def _box(values: Points, size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    _check_inside(values)
    cx, cy, width, height = values.tolist()
    if min(width, height) < 0:
        raise ValueError("the width or height is negative")
    return (cx - width / 2) * size_wh[0], (cy - height / 2) * size_wh[1], width * size_wh[0], height * size_wh[1]


def _check_inside(values: Points) -> None:
    low, high = float(values.min()), float(values.max())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise ValueError(f"the coordinate {low if low < -TOLERANCE else high:g} is not a share of the image (0 to 1)")


def _open(points: Points) -> Points:
    closed = len(points) > 3 and np.array_equal(points[0], points[-1])
    return points[:-1] if closed else points


def _visibility(value: float) -> Visibility:
    if value not in (0, 1, 2):
        raise ValueError(f"the visibility {value:g} is not 0, 1 or 2")
    return Visibility(int(value))
