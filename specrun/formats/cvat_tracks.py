"""Tracks of "CVAT for video 1.1" as labels frame by frame.

CVAT's own export lists every frame of a track; files made by others list the keyframes only. Between two
listed frames boxes, and shapes with equally many points, move linearly; other shapes stay as they were until
the next one. `outside` ends a track until it is listed again. After its last frame a track stays to the end.
The frames themselves are image files whose names end in the frame's number (`frame_000012.PNG`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from specrun.errors import FormatError
from specrun.formats.cvat_shapes import NO_COUNTERPART, Definitions, shape_to_label
from specrun.formats.reading import Entry, Reading
from specrun.formats.xml_elements import Element
from specrun.model.labels import AnyLabel, Box, Keypoints, Part, Points, Polygon, Polyline

_FRAME_NUMBER = re.compile(r"(\d+)\.[^./]+$")


@dataclass(frozen=True)
class Track:
    """One object. frames: listed frame numbers, ascending. labels: one a listed frame, None where outside."""

    frames: tuple[int, ...]
    labels: tuple[AnyLabel | None, ...]

    @classmethod
    def read(cls, track: Element, definitions: Definitions, path: Path, reading: Reading) -> Track:
        """Raises FormatError with the line."""
        name = track.attributes.get("label")
        if name is None:
            raise FormatError(f"{path}:{track.line}: <track> has no label.")
        if "task_id" in track.attributes:
            raise FormatError(
                f"{path}:{track.line}: tracks of several tasks in one file share their frame numbers.",
                hint="Export each task by itself.",
            )
        listed: dict[int, AnyLabel | None] = {}
        for shape in track.children:
            label = shape_to_label(shape, definitions, path, name)
            if label is None:
                reading.lost.add(shape.tag, NO_COUNTERPART)
                continue
            if label.group is None and (group := track.attributes.get("group_id")):
                label = replace(label, group=int(group) or None)
            outside = shape.attributes.get("outside") == "1"
            listed[_frame(shape, path)] = None if outside else replace(label, id=track.attributes.get("id"))
        frames = tuple(sorted(listed))
        return cls(frames, tuple(listed[frame] for frame in frames))

    def at(self, frame: int) -> AnyLabel | None:
        """The label in that frame, or None: not there."""
        i = bisect_right(self.frames, frame) - 1
        if i < 0:
            return None
        before = self.labels[i]
        if before is None or self.frames[i] == frame or i + 1 == len(self.frames):
            return before
        after = self.labels[i + 1]
        share = (frame - self.frames[i]) / (self.frames[i + 1] - self.frames[i])
        return before if after is None else between(before, after, share)


def read_tracks(tracks: Sequence[Track], meta: Element | None, reading: Reading) -> Iterator[Entry]:
    """One entry for each frame of the task that lies on disk, in order. meta: the `<task>` element."""
    subset = meta.value("subset") if meta else ""
    group = meta.value("id") if meta else ""
    if not reading.wants(subset):
        return
    files = _frames_on_disk(reading)
    labelled = {frame for t in tracks for frame, label in zip(t.frames, t.labels, strict=True) if label}
    first = _number(meta, "start_frame", 0)
    last = max([*labelled, _number(meta, "stop_frame", -1)])
    reading.missing.extend(f"frame {frame}" for frame in sorted(labelled - files.keys()))
    for frame in sorted(files):
        if first <= frame <= last:
            labels = tuple(label for track in tracks if (label := track.at(frame)) is not None)
            yield reading.entry_of(files[frame], labels, subset=subset, group=group, fields={"frame": frame})


def _number(meta: Element | None, tag: str, default: int) -> int:
    text = meta.value(tag) if meta else ""
    return int(text) if text.isdigit() else default


def between(before: AnyLabel, after: AnyLabel, share: float) -> AnyLabel:
    """The label that lies `share` (0 to 1) of the way between two; `before` where the shapes do not fit."""

    def mix(a: Points, b: Points) -> Points:
        return a + (b - a) * share

    match before, after:
        case Box(), Box():
            return replace(
                before,
                x=before.x + (after.x - before.x) * share,
                y=before.y + (after.y - before.y) * share,
                width=before.width + (after.width - before.width) * share,
                height=before.height + (after.height - before.height) * share,
                rotation=before.rotation + _shortest_turn(before.rotation, after.rotation) * share,
            )
        case Polygon(), Polygon():
            a, b = before.parts[0].exterior, after.parts[0].exterior
            return replace(before, parts=(Part(mix(a, b)),)) if len(a) == len(b) else before
        case Polyline(), Polyline():
            fits = len(before.points) == len(after.points)
            return replace(before, points=mix(before.points, after.points)) if fits else before
        case Keypoints(), Keypoints():
            fits = len(before.points) == len(after.points)
            return replace(before, points=mix(before.points, after.points)) if fits else before
    return before


def _shortest_turn(start: float, end: float) -> float:
    return (end - start + 180) % 360 - 180


def _frame(shape: Element, path: Path) -> int:
    text = shape.attributes.get("frame", "")
    if not text.isdigit():
        raise FormatError(f'{path}:{shape.line}: <{shape.tag}> has the frame "{text}", a whole number is needed.')
    return int(text)


def _frames_on_disk(reading: Reading) -> Mapping[int, str]:
    found: dict[int, list[str]] = defaultdict(list)
    for name in reading.media.names:
        match = _FRAME_NUMBER.search(name)
        if match:
            found[int(match[1])].append(name)
    counts = Counter({frame: len(names) for frame, names in found.items()})
    if counts and max(counts.values()) > 1:
        frame, _ = counts.most_common(1)[0]
        raise FormatError(
            f"{reading.media.root}: frame {frame} could be any of {', '.join(found[frame][:3])}.",
            hint="Set media to the folder that holds the frames of this video alone.",
        )
    if not found:
        raise FormatError(
            f"{reading.media.root}: holds no frames of the video.",
            hint="Export the task with images, or extract its frames as frame_000000.png and so on.",
        )
    return {frame: names[0] for frame, names in found.items()}
