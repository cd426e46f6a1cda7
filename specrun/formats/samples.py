"""Samples as JSON lines: what a source's output folder holds in `samples.jsonl`.

One sample a line, ASCII, keys in a fixed order, defaults left out, so that equal samples are equal bytes.
Floats are written with the shortest text that reads back as the same number. Points are flat lists
`[x0, y0, x1, y1, ...]`. A mask is COCO's compressed run-length string of its own bitmap, beside its place.
Media inside the project is stored relative to it, so that the folder may move; media elsewhere is absolute.

Rejected: Parquet (one more heavy dependency, and people look into this file), pickle (unsafe),
base64 arrays (as long as the digits at the precision people draw with, and unreadable).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from specrun.errors import FormatError
from specrun.formats.rle import bitmap_to_rle, counts_to_string, rle_to_bitmap, string_to_counts
from specrun.model.labels import (
    AnyLabel,
    Box,
    Keypoints,
    Mask,
    Part,
    Points,
    Polygon,
    Polyline,
    Sample,
    Tag,
    Visibility,
)

SAMPLES_NAME = "samples.jsonl"


def save_samples(path: Path, samples: Iterable[Sample], project_dir: Path) -> dict[str, int]:
    """Write all samples; returns the number of labels by class.

    Raises FormatError: a coordinate that is not a finite number.
    """
    counts: Counter[str] = Counter()
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for sample in samples:
            counts.update(label.label for label in sample.labels)
            file.write(sample_to_line(sample, project_dir))
            file.write("\n")
    return dict(counts)


def load_samples(path: Path, project_dir: Path, *, with_labels: bool = True) -> Iterator[Sample]:
    """Read samples one by one. with_labels: else they have none, which is faster.

    Raises FormatError: a line is not a sample; it names file and line.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                data = json.loads(line)
                yield sample_from_json(data if with_labels else {**data, "labels": ()}, project_dir)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, FormatError) as error:
                raise FormatError(
                    f"{path}:{number}: not a sample ({type(error).__name__}: {error}).",
                    hint="Make the source anew with --replace.",
                ) from error


def sample_to_line(sample: Sample, project_dir: Path) -> str:
    """Raises FormatError: a coordinate that is not a finite number."""
    try:
        return json.dumps(sample_to_json(sample, project_dir), separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise FormatError(f"{sample.media}: a label has a coordinate that is not a finite number.") from error


def sample_to_json(sample: Sample, project_dir: Path) -> dict[str, Any]:
    data: dict[str, Any] = {
        "key": sample.key,
        "media": _media_to_text(sample.media, project_dir),
        "name": sample.name,
        "digest": sample.digest,
        "size_wh": list(sample.size_wh),
    }
    if sample.split is not None:
        data["split"] = sample.split
    if sample.tags:
        data["tags"] = list(sample.tags)
    if not sample.annotated:
        data["annotated"] = False
    if sample.fields:
        data["fields"] = dict(sample.fields)
    if sample.labels:
        data["labels"] = [label_to_json(label) for label in sample.labels]
    return data


def sample_from_json(data: Mapping[str, Any], project_dir: Path) -> Sample:
    """Raises KeyError, TypeError or ValueError: not a sample."""
    width, height = data["size_wh"]
    return Sample(
        key=data["key"],
        media=project_dir / data["media"],
        name=data["name"],
        digest=data["digest"],
        size_wh=(width, height),
        split=data.get("split"),
        tags=tuple(data.get("tags", ())),
        labels=tuple(label_from_json(label) for label in data.get("labels", ())),
        annotated=data.get("annotated", True),
        fields=data.get("fields", {}),
    )


def label_to_json(label: AnyLabel) -> dict[str, Any]:
    """A label without its defaults; `type` says which sort."""
    kind, shape = _shape_to_json(label)
    data: dict[str, Any] = {"type": kind, "label": label.label, **shape}
    for name, default in _PLAIN_FIELDS.items():
        value = getattr(label, name)
        if value != default:
            data[name] = value
    if label.attributes:
        data["attributes"] = dict(label.attributes)
    return data


def label_from_json(data: Mapping[str, Any]) -> AnyLabel:
    """Raises KeyError, TypeError or ValueError: not a label."""
    make, shape = _READERS[data["type"]]
    values = {name: data[name] for name in _PLAIN_FIELDS if name in data}
    if "attributes" in data:
        values["attributes"] = data["attributes"]
    return make(label=data["label"], **shape(data), **values)


_PLAIN_FIELDS: Mapping[str, Any] = {
    "source_label": None,
    "group": None,
    "z_order": 0,
    "score": None,
    "occluded": False,
    "crowd": False,
    "id": None,
}


def _media_to_text(media: Path, project_dir: Path) -> str:
    text, root = os.fspath(media), os.fspath(project_dir)
    inside = text.startswith(root + os.sep)
    return text[len(root) + 1 :].replace(os.sep, "/") if inside else text


def _shape_to_json(label: AnyLabel) -> tuple[str, dict[str, Any]]:
    match label:
        case Box():
            shape = {"box": [float(label.x), float(label.y), float(label.width), float(label.height)]}
            return "box", shape | ({"rotation": float(label.rotation)} if label.rotation else {})
        case Polygon():
            return "polygon", {"parts": [_part_to_json(part) for part in label.parts]}
        case Mask():
            height, width = label.bitmap.shape
            rle = counts_to_string(bitmap_to_rle(label.bitmap))
            return "mask", {"rle": rle, "place": [int(label.left), int(label.top), width, height]}
        case Polyline():
            return "polyline", {"points": _flat(label.points)}
        case Keypoints():
            data: dict[str, Any] = {"points": _flat(label.points)}
            if label.names:
                data["names"] = list(label.names)
            if label.visibility:
                data["visibility"] = [int(value) for value in label.visibility]
            if label.box is not None:
                data["box"] = [float(value) for value in label.box]
            return "keypoints", data
        case Tag():
            return "tag", {"others": [[name, float(score)] for name, score in label.others]} if label.others else {}


def _part_to_json(part: Part) -> list[list[float]]:
    """Rings: the exterior first, then the holes."""
    return [_flat(part.exterior), *(_flat(hole) for hole in part.holes)]


def _flat(points: Points) -> list[float]:
    values: list[float] = points.ravel().tolist()
    return values


def _points(flat: list[float]) -> Points:
    return np.array(flat, dtype=np.float64).reshape(-1, 2)


def _box_shape(data: Mapping[str, Any]) -> dict[str, Any]:
    x, y, width, height = data["box"]
    return {"x": x, "y": y, "width": width, "height": height, "rotation": data.get("rotation", 0.0)}


def _polygon_shape(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"parts": tuple(Part(_points(rings[0]), tuple(_points(r) for r in rings[1:])) for rings in data["parts"])}


def _mask_shape(data: Mapping[str, Any]) -> dict[str, Any]:
    left, top, width, height = data["place"]
    return {"bitmap": rle_to_bitmap(string_to_counts(data["rle"]), (width, height)), "left": left, "top": top}


def _keypoints_shape(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "points": _points(data["points"]),
        "names": tuple(data.get("names", ())),
        "visibility": tuple(Visibility(value) for value in data.get("visibility", ())),
        "box": tuple(data["box"]) if "box" in data else None,
    }


def _polyline_shape(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"points": _points(data["points"])}


_READERS: Mapping[str, tuple[Callable[..., AnyLabel], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "tag": (Tag, lambda data: {"others": tuple((name, score) for name, score in data.get("others", ()))}),
    "box": (Box, _box_shape),
    "polygon": (Polygon, _polygon_shape),
    "mask": (Mask, _mask_shape),
    "polyline": (Polyline, _polyline_shape),
    "keypoints": (Keypoints, _keypoints_shape),
}
