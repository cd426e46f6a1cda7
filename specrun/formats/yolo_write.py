"""Labels as YOLO text: one line an object, coordinates relative to the image.

    detect   class cx cy w h
    segment  class x1 y1 x2 y2 ...
    pose     class cx cy w h  x1 y1 v1  x2 y2 v2 ...
    obb      class x1 y1 x2 y2 x3 y3 x4 y4

What YOLO cannot hold, and what is written instead (each counted):
- segment holds one ring an object. A hole is reached through a slit without width. Parts are joined by
  lines without width, as in Ultralytics' own COCO converter, so that one object stays one object; parts that
  overlap are merged first, since the ring fills even-odd. Masks become their outlines along the pixel borders,
  boxes their four corners.
- detect holds upright boxes: turned boxes and outlines become the box around them.
- obb holds rectangles: outlines become the smallest turned rectangle around them.
- pose holds keypoints with a box; where none was given, it is the box around the visible points.
- Points outside the image are cut off (outlines) or moved to its border (turned boxes); keypoints outside
  are absent. Objects without area are left out.

Coordinates have ten significant digits: a millionth of a pixel in the largest photographs.
Source: the dataset pages of the Ultralytics documentation; `merge_multi_segment` of its COCO converter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from specrun.errors import FormatError
from specrun.formats.geometry import (
    XYWH,
    bitmap_to_parts,
    box_corners,
    box_to_part,
    bridge_parts,
    clip_box,
    clip_parts,
    is_rectangle,
    mask_box,
    mask_to_parts,
    parts_overlap,
    points_box,
    polygon_box,
    rasterize,
    smallest_rectangle,
)
from specrun.formats.nouns import noun_of, unknown_class
from specrun.formats.tally import Tally
from specrun.model.labels import (
    AnyLabel,
    Box,
    Keypoints,
    Mask,
    Part,
    Points,
    Polygon,
    Sample,
    Visibility,
)

_BOX_LINE = "%d %.10g %.10g %.10g %.10g\n"


class Task(StrEnum):
    """Ultralytics' tasks that have labels a line."""

    DETECT = "detect"
    SEGMENT = "segment"
    POSE = "pose"
    OBB = "obb"


@dataclass(frozen=True)
class PoseLayout:
    """names: one a point, in the order of the columns. flip: index of each point's mirror image; () unknown."""

    names: tuple[str, ...]
    flip: tuple[int, ...] = ()


@dataclass(frozen=True)
class YoloWriter:
    """classes: label → index. pose: for Task.POSE."""

    task: Task
    classes: Mapping[str, int]
    pose: PoseLayout = PoseLayout(())

    def text(self, sample: Sample, tally: Tally) -> str:
        """The whole label file; "" when nothing is left to write.

        Raises FormatError: a label's class is not among the classes, or keypoints do not fit the layout.
        """
        lines = []
        for label in sample.labels:
            if self.task is Task.DETECT and type(label) is Box and (line := self._plain_box(label, sample.size_wh)):
                lines.append(line)
                continue
            try:
                values = self._line(label, sample.size_wh, tally)
            except FormatError as error:
                raise FormatError(f"{sample.name}: {error.message}", hint=error.hint) from None
            if values is None:
                continue
            index = self.classes.get(label.label)
            if index is None:
                raise unknown_class(sample, label)
            lines.append(f"{index} " + values)
        if sample.labels and not lines:
            tally.add("image", "lost all {their} labels and {are} written as negatives")
        return "".join(lines)

    def _plain_box(self, label: Box, size_wh: tuple[int, int]) -> str | None:
        """The usual case in one go: an upright box inside the image; three times as fast as the general way."""
        x, y, box_width, box_height = label.x, label.y, label.width, label.height
        width, height = size_wh
        index = self.classes.get(label.label)
        if index is None or label.rotation or x < 0 or y < 0 or box_width <= 0 or box_height <= 0:
            return None
        if x + box_width > width or y + box_height > height:
            return None
        values = (x + box_width / 2) / width, (y + box_height / 2) / height, box_width / width, box_height / height
        return _BOX_LINE % (index, *values)

    def _line(self, label: AnyLabel, size_wh: tuple[int, int], tally: Tally) -> str | None:
        match self.task:
            case Task.DETECT:
                return _detect_line(label, size_wh, tally)
            case Task.SEGMENT:
                return _segment_line(label, size_wh, tally)
            case Task.POSE:
                return self._pose_line(label, size_wh, tally)
            case Task.OBB:
                return _obb_line(label, size_wh, tally)

    def _pose_line(self, label: AnyLabel, size_wh: tuple[int, int], tally: Tally) -> str | None:
        if not isinstance(label, Keypoints):
            _left_out(label, Task.POSE, tally)
            return None
        if (label.names and not set(label.names) <= set(self.pose.names)) or len(label.points) > len(self.pose.names):
            raise FormatError(
                f'keypoints of "{label.label}" are not those of the skeleton ({", ".join(self.pose.names)}).',
                hint="Name a skeleton that has all points of all classes in `skeleton`.",
            )
        width, height = size_wh
        places = dict(zip(label.names or self.pose.names, range(len(label.points)), strict=False))
        columns: list[float] = []
        inside: list[tuple[float, float]] = []
        for name in self.pose.names:
            place = places.get(name)
            x, y = label.points[place].tolist() if place is not None else (0.0, 0.0)
            visible = _visibility(label, place)
            if visible and not (0 <= x <= width and 0 <= y <= height):
                tally.add("keypoint", "outside the image {are} written as absent")
                visible = 0
            if visible:
                inside.append((x, y))
                columns += (x / width, y / height, visible)
            else:
                columns += (0, 0, 0)
        box = label.box or (points_box(np.array(inside)) if inside else None)
        clipped = clip_box(box, size_wh) if box is not None else None
        if clipped is None:
            tally.add("skeleton", "without visible points or area {are} left out of YOLO pose")
            return None
        return _numbers(_centred(clipped, size_wh)) + " " + _numbers(columns) + "\n"


def pose_layout(samples: Sequence[Sample], skeleton: Mapping[str, Any] | None) -> PoseLayout:
    """The points of all skeletons: the declared ones, otherwise the names in the order they are first seen,
    otherwise numbers. Mirror images come from `flip_pairs`, otherwise from left and right in the names."""
    names = tuple(skeleton["points"]) if skeleton else ()
    labels = [label for sample in samples for label in sample.labels if isinstance(label, Keypoints)]
    if not names:
        seen = dict.fromkeys(name for label in labels for name in label.names)
        names = tuple(seen) or tuple(str(i) for i in range(max((len(label.points) for label in labels), default=0)))
    declared = skeleton.get("flip_pairs") if skeleton else None
    pairs = [(a, b) for a, b in declared or ()] or _mirrored_names(names)
    if not pairs:
        return PoseLayout(names)
    mirror = dict(pairs + [(b, a) for a, b in pairs])
    return PoseLayout(names, tuple(names.index(mirror.get(name, name)) for name in names))


def _mirrored_names(names: Sequence[str]) -> list[tuple[str, str]]:
    known = set(names)
    pairs = ((name, name.replace("left", "right").replace("Left", "Right")) for name in names)
    return [(name, other) for name, other in pairs if other != name and other in known]


def _detect_line(label: AnyLabel, size_wh: tuple[int, int], tally: Tally) -> str | None:
    box = _enclosing_box(label, size_wh, tally)
    if box is None:
        return None
    left, top, box_width, box_height = box
    width, height = size_wh
    if left < 0 or top < 0 or left + box_width > width or top + box_height > height:
        tally.add(noun_of(label), "{are} cut at the border of the image")
    clipped = clip_box(box, size_wh)
    if clipped is None:
        tally.add(noun_of(label), "without area in the image {are} left out")
        return None
    return _numbers(_centred(clipped, size_wh)) + "\n"


def _enclosing_box(label: AnyLabel, size_wh: tuple[int, int], tally: Tally) -> XYWH | None:
    match label:
        case Box():
            if not label.rotation % 360:
                return label.x, label.y, label.width, label.height
            tally.add("turned box", "{are} written as the box around")
            return points_box(box_corners(label))
        case Polygon():
            parts = clip_parts(label.parts, size_wh)
            tally.add("polygon", "{are} written as {their} box")
            if any(_sticks_out(part.exterior, size_wh) for part in label.parts):
                tally.add("polygon", "{are} cut at the border of the image")
            if not parts:
                tally.add("polygon", "without area in the image {are} left out")
            return polygon_box(parts) if parts else None
        case Mask():
            tally.add("mask", "{are} written as {their} box")
            return mask_box(label)
        case Keypoints() if label.box is not None:
            tally.add("skeleton", "{are} written as {their} box")
            return label.box
        case _:
            _left_out(label, Task.DETECT, tally)
            return None


def _segment_line(label: AnyLabel, size_wh: tuple[int, int], tally: Tally) -> str | None:
    parts = _outline(label, size_wh, Task.SEGMENT, tally)
    if not parts:
        return None
    if isinstance(label, Box):
        tally.add("box", "{are} written as {their} four corners")
    if any(part.holes for part in parts):
        tally.add(noun_of(label), "with holes {are} written as one ring through a slit")
    if len(parts) > 1:
        tally.add(noun_of(label), "of several parts {are} written as one ring joined by lines")
        if parts_overlap(parts, size_wh):
            parts = bitmap_to_parts(rasterize(parts, size_wh))
    return _relative(bridge_parts(parts), size_wh)


def _obb_line(label: AnyLabel, size_wh: tuple[int, int], tally: Tally) -> str | None:
    if isinstance(label, Box):
        corners = box_corners(label) if label.width > 0 and label.height > 0 else None
    else:
        parts = _outline(label, size_wh, Task.OBB, tally)
        corners = smallest_rectangle(np.concatenate([part.exterior for part in parts])) if parts else None
        if parts and not (len(parts) == 1 and is_rectangle(parts[0].exterior) and not parts[0].holes):
            tally.add(noun_of(label), "{are} written as the smallest turned rectangle around")
    if corners is None:
        if isinstance(label, Box):
            tally.add("box", "without area in the image {are} left out")
        return None
    if not clip_parts((Part(corners),), size_wh):
        tally.add(noun_of(label), "without area in the image {are} left out")
        return None
    bounded = np.clip(corners, 0.0, np.array(size_wh, dtype=np.float64))
    if (bounded != corners).any():
        tally.add(noun_of(label), "{are} cut at the border of the image")
    return _relative(bounded, size_wh)


def _outline(label: AnyLabel, size_wh: tuple[int, int], task: Task, tally: Tally) -> tuple[Part, ...]:
    match label:
        case Box():
            parts: tuple[Part, ...] = (box_to_part(label),)
        case Polygon():
            parts = label.parts
        case Mask():
            parts = mask_to_parts(label)
        case _:
            _left_out(label, task, tally)
            return ()
    clipped = clip_parts(parts, size_wh)
    if not clipped:
        tally.add(noun_of(label), "without area in the image {are} left out")
    elif any(_sticks_out(part.exterior, size_wh) for part in parts):
        tally.add(noun_of(label), "{are} cut at the border of the image")
    return clipped


def _sticks_out(ring: Points, size_wh: tuple[int, int]) -> bool:
    return bool((ring < 0).any() or (ring > np.array(size_wh)).any())


def _left_out(label: AnyLabel, task: Task, tally: Tally) -> None:
    tally.add(noun_of(label), f"{{are}} not part of YOLO {task}")


def _visibility(label: Keypoints, place: int | None) -> int:
    if place is None:
        return 0
    return int(label.visibility[place]) if label.visibility else int(Visibility.VISIBLE)


def _centred(box: XYWH, size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    (left, top, box_width, box_height), (width, height) = box, size_wh
    return (left + box_width / 2) / width, (top + box_height / 2) / height, box_width / width, box_height / height


def _relative(points: Points, size_wh: tuple[int, int]) -> str:
    return _numbers((points / np.array(size_wh, dtype=np.float64)).ravel().tolist()) + "\n"


def _numbers(values: Sequence[float]) -> str:
    return ("%.10g " * len(values))[:-1] % tuple(values)
