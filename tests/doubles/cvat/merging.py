"""How the annotations of a task are put together from its jobs: on shared frames, what is alike is told once.

As the server does: boxes and polygons of one label are alike when they cover each other by three quarters; masks,
points, polylines and ellipses never are, and come once from each job.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageChops, ImageDraw

Json = dict[str, Any]
_ALIKE = 0.75


def merge(whole: Json, part: Json, start_frame: int, overlap: int) -> None:
    """Add a job's annotations to those of the jobs before it; `overlap` frames from `start_frame` on are shared."""
    shared = range(start_frame, start_frame + overlap)
    whole["tags"] += _new(whole["tags"], part["tags"], shared, _same_label)
    whole["shapes"] += _new(whole["shapes"], part["shapes"], shared, _alike)
    for track in whole["tracks"]:
        _end(track, start_frame + overlap)
    whole["tracks"] += part["tracks"]


def _new(old: Sequence[Json], added: Sequence[Json], shared: range, alike: Callable[[Json, Json], bool]) -> list[Json]:
    left = [thing for thing in old if thing["frame"] in shared]
    made = []
    for thing in added:
        twin = next((one for one in left if one["frame"] == thing["frame"] and alike(one, thing)), None)
        if twin is None:
            made.append(thing)
        else:
            left.remove(twin)
    return made


def _end(track: Json, frame: int) -> None:
    last = track["shapes"][-1]
    if not last["outside"]:
        track["shapes"].append(copy.deepcopy(last) | {"frame": frame, "outside": True})
    for element in track.get("elements", []):
        _end(element, frame)


def _same_label(one: Json, other: Json) -> bool:
    return bool(one["label_id"] == other["label_id"])


def _alike(one: Json, other: Json) -> bool:
    if (one["type"], one["label_id"]) != (other["type"], other["label_id"]):
        return False
    if one["type"] not in ("rectangle", "polygon"):
        return False
    return one["points"] == other["points"] or _covering(_outline(one), _outline(other)) >= _ALIKE


def _outline(shape: Json) -> list[tuple[float, float]]:
    points = shape["points"]
    if shape["type"] == "rectangle":
        left, top, right, bottom = points
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    return list(zip(points[::2], points[1::2], strict=True))


def _covering(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> float:
    """Intersection over union, counted in pixels."""
    size = tuple(int(max(point[axis] for point in (*one, *other))) + 2 for axis in (0, 1))
    drawn = []
    for outline in (one, other):
        image = Image.new("1", (size[0], size[1]))
        ImageDraw.Draw(image).polygon(outline, fill=1)
        drawn.append(image)
    both, either = ImageChops.logical_and(*drawn), ImageChops.logical_or(*drawn)
    return both.histogram()[-1] / max(1, either.histogram()[-1])
