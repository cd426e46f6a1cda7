"""Tracks laid out over the frames: what the server shows and exports between two keyframes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.doubles.cvat.state import Json

MOVING = ("rectangle", "ellipse", "cuboid", "skeleton")


def to_shapes(tracks: list[Json], size: int) -> Iterator[Json]:
    """A shape for each frame on which a track is seen; outside frames are left out."""
    for number, track in enumerate(tracks):
        elements = [laid_out(element, size, include_outside=True) for element in track.get("elements", [])]
        for shape in laid_out(track, size):
            parts = [found[shape["frame"]] for found in map(_by_frame, elements) if shape["frame"] in found]
            if elements and all(part["outside"] for part in parts):
                continue
            yield {**shape, "track_id": number, "elements": parts}


def _by_frame(shapes: list[Json]) -> dict[int, Json]:
    return {shape["frame"]: shape for shape in shapes}


def laid_out(track: Json, size: int, *, include_outside: bool = False) -> list[Json]:
    """Every frame from the first keyframe to the last frame of the task, keyframes marked as such."""
    whole = {key: track[key] for key in ("label_id", "group", "source") if key in track}
    keyframes = sorted(track["shapes"], key=lambda shape: shape["frame"])
    found = []
    for number, shape in enumerate(keyframes):
        following = keyframes[number + 1] if number + 1 < len(keyframes) else None
        stop = following["frame"] if following else size
        seen = include_outside or not shape["outside"]
        if seen and shape["frame"] < size:
            found.append({**whole, **shape, "keyframe": True})
        if seen:
            found.extend(
                {**whole, **_between(shape, following, frame), "frame": frame, "keyframe": False}
                for frame in range(shape["frame"] + 1, min(stop, size))
            )
    own = list(track.get("attributes", []))
    return [{**shape, "attributes": [*shape.get("attributes", []), *own]} for shape in found]


def _between(shape: Json, following: Json | None, frame: int) -> Json:
    if following is None or len(shape["points"]) != len(following["points"]) or shape["type"] == "mask":
        return shape
    # The server moves single points only; of polygons and polylines it also pairs points, here: one to one.
    if shape["type"] == "points" and len(shape["points"]) != 2:
        return shape
    part = (frame - shape["frame"]) / (following["frame"] - shape["frame"])
    start, end = np.asarray(shape["points"], float), np.asarray(following["points"], float)
    moved = {**shape, "points": [float(value) for value in start + (end - start) * part]}
    if shape["type"] in MOVING:
        turn = (following.get("rotation", 0) - shape.get("rotation", 0) + 180) % 360 - 180
        moved["rotation"] = (shape.get("rotation", 0) + turn * part + 360) % 360
    return moved
