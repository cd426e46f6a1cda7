"""COCO instances and keypoints as entries.

- Rings of one annotation are parts of one object (COCO has no holes: they are a union). Rings with fewer than
  three points are left out and counted; if none is left the box stands for the object.
- Run lengths, compressed or not, become masks. `iscrowd` is kept as it is; note that CVAT writes every mask and
  ellipse as a crowd.
- Keypoints and an outline in one annotation become two labels of one group.
- `rotation` and `occluded` among the attributes that CVAT and Datumaro write are understood, `z_order`,
  `group_id` and `score` of an annotation too. A rectangle of four corners that has a rotation is a turned box.
- In a folder every instances file is read, its subset taken from its name (`instances_train2017.json`) or else
  from the folder it lies in (Roboflow's `train/_annotations.coco.json`). Captions are left out; keypoint files
  are left out where instances of the same subset exist, because they describe the same objects.
Source: the COCO "Data format" page and `maskApi.c`.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from specrun.errors import FormatError
from specrun.formats.plain_text import plain_text
from specrun.formats.reading import USUAL_SPLITS, Entry, Reading
from specrun.formats.rectangles import corners_to_box
from specrun.formats.rle import rle_to_bitmap, string_to_counts
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Part, Polygon, Visibility

_ROLE = re.compile(r"^(instances|person_keypoints|keypoints|captions|stuff|panoptic|image_info)_(.+)$")
_YEAR = re.compile(r"\d{4}$")
_WORD = re.compile(r"[A-Za-z]+")
_UNDERSTOOD = ("occluded", "rotation")


@dataclass(frozen=True)
class CocoFile:
    """role: `instances`, `person_keypoints`, …; subset: "" when nothing says which. named: as in the file's name."""

    path: Path
    role: str
    subset: str
    named: str


def find_coco_files(path: Path, reading: Reading) -> list[CocoFile]:
    """The files to read for a path that is one file or a folder. Raises FormatError: there are none."""
    if path.is_file():
        return [_classified(path, path.parent)]
    found = [_classified(file, path) for file in sorted(path.rglob("*.json")) if not _is_hidden(file, path)]
    with_instances = {file.subset for file in found if file.role == "instances"}
    chosen: list[CocoFile] = []
    for file in found:
        shadowed = file.role in ("person_keypoints", "keypoints") and file.subset in with_instances
        if file.role in ("captions", "panoptic", "image_info") or shadowed:
            reading.lost.add(f"file ({file.path.name})", "{were} left out; name it in `path` to read it alone")
        else:
            chosen.append(file)
    if not chosen:
        raise FormatError(f"{path}: holds no COCO file (.json).", hint="Name the folder or file in `path`.")
    return chosen


def read_coco(path: Path, reading: Reading) -> Iterator[Entry]:
    """path: one file, or a folder of them. Raises FormatError naming the file and the annotation."""
    for file in find_coco_files(path, reading):
        yield from _read_file(file, reading)


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _classified(file: Path, folder: Path) -> CocoFile:
    match = _ROLE.match(file.stem)
    role = match[1] if match else "instances"
    named = match[2] if match else ""
    shortened = _YEAR.sub("", named)
    subset = shortened if shortened.lower() in USUAL_SPLITS else named
    if not subset:
        words = _WORD.findall(file.stem)
        around = reversed(file.relative_to(folder).parts[:-1]) if file.is_relative_to(folder) else ()
        subset = next((word for word in [*words, *around, folder.name] if word.lower() in USUAL_SPLITS), "")
    return CocoFile(file, role, subset, named)


def _read_file(file: CocoFile, reading: Reading) -> Iterator[Entry]:
    data = _load(file.path)
    reading.aliases[file.subset] = (file.named,)
    categories = _categories(data, file.path)
    reading.add_classes(category.name for category in categories.values())
    by_image: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in data.get("annotations", ()):
        by_image[annotation.get("image_id")].append(annotation)
    for image in data["images"]:
        try:
            number, name = image["id"], str(image["file_name"])
            stated = (int(image["width"]), int(image["height"])) if {"width", "height"} <= image.keys() else None
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{file.path}: image {image!r:.80} lacks {error}.") from error
        annotations = by_image.pop(number, [])
        if not reading.wants(file.subset):
            continue
        converter = _Converter(file.path, categories, stated, reading)
        ungrouped = 1 + max((a["group_id"] for a in annotations if isinstance(a.get("group_id"), int)), default=0)
        labels = tuple(x for i, a in enumerate(annotations, start=ungrouped) for x in converter.labels(a, i))
        entry = reading.entry(name, labels, near=file.path, subset=file.subset, stated_wh=stated)
        if entry is not None:
            yield entry
    if by_image:
        number, orphans = next(iter(by_image.items()))
        raise FormatError(f"{file.path}: annotation {orphans[0].get('id')} is of image {number}, which is not listed.")


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg}).") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON ({error}).") from error
    lists = ("images", "annotations", "categories")
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise FormatError(f"{path}: not a COCO file, it has no list of images.", hint="Check `format` and `path`.")
    for key in lists:
        rows = data.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FormatError(f"{path}: `{key}` must be a list of objects.")
    return data


@dataclass(frozen=True)
class _Category:
    name: str
    points: tuple[str, ...]


def _categories(data: Mapping[str, Any], path: Path) -> dict[Any, _Category]:
    found: dict[Any, _Category] = {}
    for row in data.get("categories", ()):
        if "id" not in row or "name" not in row:
            raise FormatError(f"{path}: category {row!r:.80} needs an id and a name.")
        found[row["id"]] = _Category(
            plain_text(str(row["name"])), tuple(plain_text(str(name)) for name in row.get("keypoints") or ())
        )
    return found


@dataclass(frozen=True)
class _Converter:
    """Annotations of one image to labels. size_wh: None when the file does not say it."""

    path: Path
    categories: Mapping[Any, _Category]
    size_wh: tuple[int, int] | None
    reading: Reading

    def labels(self, annotation: Mapping[str, Any], number: int) -> tuple[AnyLabel, ...]:
        """number: of the group, where the annotation is two labels and names none. Raises FormatError."""
        where = f"{self.path}: annotation {annotation.get('id', '?')}"
        category = self.categories.get(annotation.get("category_id"))
        if category is None:
            raise FormatError(f"{where} has the category {annotation.get('category_id')}, which is not defined.")
        try:
            return self._convert(annotation, category, number)
        except (ValueError, TypeError, KeyError, AttributeError, FormatError) as error:
            raise FormatError(f"{where} cannot be read: {error}.") from error

    def _convert(self, annotation: Mapping[str, Any], category: _Category, number: int) -> tuple[AnyLabel, ...]:
        shared = self._shared(annotation, category)
        outline = self._outline(annotation, shared)
        keypoints = self._keypoints(annotation, category, shared)
        if keypoints is None:
            return (outline,) if outline is not None else ()
        if isinstance(outline, Polygon | Mask):
            group = number if outline.group is None else outline.group
            return (replace(outline, group=group), replace(keypoints, group=group))
        return (keypoints,)

    def _shared(self, annotation: Mapping[str, Any], category: _Category) -> dict[str, Any]:
        attributes: dict[str, str | float | bool] = {}
        raw = annotation.get("attributes") or {}
        for name, value in raw.items():
            if isinstance(value, bool | str):
                attributes[plain_text(str(name))] = plain_text(value) if isinstance(value, str) else value
            elif isinstance(value, int | float) and math.isfinite(value):
                attributes[plain_text(str(name))] = float(value)
            else:
                self.reading.lost.add("attribute", "{are} neither text, number nor true/false and {were} left out")
        if annotation.get("iscrowd"):
            self.reading.lost.add("annotation", "{are} marked as crowds and kept so (CVAT marks all masks so)")
        score, group = annotation.get("score"), annotation.get("group_id")
        return {
            "label": category.name,
            "attributes": {name: value for name, value in attributes.items() if name not in _UNDERSTOOD},
            "occluded": raw.get("occluded") is True,
            "group": None if group is None else int(group),
            "z_order": int(annotation.get("z_order", 0)),
            "score": None if score is None else float(score),
            "crowd": bool(annotation.get("iscrowd", 0)),
            "id": str(annotation["id"]) if "id" in annotation else None,
        }

    def _outline(self, annotation: Mapping[str, Any], shared: Mapping[str, Any]) -> Polygon | Mask | Box | None:
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, dict):
            return self._mask(segmentation, shared)
        if segmentation:
            parts = [part for ring in segmentation if (part := self._part(ring)) is not None]
            if parts:
                box = corners_to_box(parts[0].exterior) if len(parts) == 1 and _rotation(annotation) else None
                return Polygon(parts=tuple(parts), **shared) if box is None else _turned_box(box, shared)
        return self._box(annotation, shared)

    def _part(self, ring: Sequence[float]) -> Part | None:
        if len(ring) % 2:
            raise ValueError(f"a ring has {len(ring)} numbers, they must be pairs")
        points = np.array(ring, dtype=np.float64).reshape(-1, 2)
        if not np.isfinite(points).all():
            raise ValueError("a coordinate is not a finite number")
        if len(points) > 1 and np.array_equal(points[0], points[-1]):
            points = points[:-1]
        if len(points) < 3:
            self.reading.lost.add("ring", "{have} fewer than three points and {were} left out")
            return None
        return Part(points)

    def _mask(self, segmentation: Mapping[str, Any], shared: Mapping[str, Any]) -> Mask | None:
        height, width = segmentation["size"]
        if self.size_wh is None:
            raise ValueError("it is a mask, and its image has no width and height")
        if (width, height) != self.size_wh:
            raise ValueError(f"its mask is {width}x{height} pixels, its image {self.size_wh[0]}x{self.size_wh[1]}")
        counts = segmentation["counts"]
        bitmap = rle_to_bitmap(string_to_counts(counts) if isinstance(counts, str) else counts, (width, height))
        rows, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
        if not rows.size:
            self.reading.lost.add("mask", "{have} no pixel and {were} left out")
            return None
        top, left = int(rows[0]), int(columns[0])
        cropped = bitmap[top : rows[-1] + 1, left : columns[-1] + 1].copy()
        return Mask(bitmap=cropped, left=left, top=top, **shared)

    def _box(self, annotation: Mapping[str, Any], shared: Mapping[str, Any]) -> Box | None:
        if not annotation.get("bbox"):
            self.reading.lost.add("annotation", "{have} neither outline, box nor keypoints and {were} left out")
            return None
        x, y, width, height = (float(value) for value in annotation["bbox"])
        if not all(math.isfinite(value) for value in (x, y, width, height)) or min(width, height) < 0:
            raise ValueError(f"its bbox {annotation['bbox']} is not x, y, width, height")
        return Box(x=x, y=y, width=width, height=height, rotation=_rotation(annotation), **shared)

    def _keypoints(
        self, annotation: Mapping[str, Any], category: _Category, shared: Mapping[str, Any]
    ) -> Keypoints | None:
        flat = annotation.get("keypoints")
        if not flat or not any(flat[2::3]):
            return None
        if len(flat) % 3 or (category.points and len(flat) != 3 * len(category.points)):
            raise ValueError(f"it has {len(flat)} keypoint numbers for {len(category.points)} points x, y, v")
        rows = np.array(flat, dtype=np.float64).reshape(-1, 3)
        if not np.isfinite(rows).all():
            raise ValueError("a keypoint is not a finite number")
        box = tuple(float(value) for value in annotation["bbox"]) if annotation.get("bbox") else None
        return Keypoints(
            points=np.ascontiguousarray(rows[:, :2]),
            names=category.points,
            visibility=tuple(Visibility(int(value)) for value in rows[:, 2]),
            box=None if box is None else (box[0], box[1], box[2], box[3]),
            **shared,
        )


def _rotation(annotation: Mapping[str, Any]) -> float:
    """Degrees clockwise. Raises ValueError or TypeError: not a number."""
    rotation = float((annotation.get("attributes") or {}).get("rotation", 0.0))
    if not math.isfinite(rotation):
        raise ValueError(f"its rotation is {rotation}")
    return rotation


def _turned_box(box: tuple[float, float, float, float, float], shared: Mapping[str, Any]) -> Box:
    x, y, width, height, rotation = box
    return Box(x=x, y=y, width=width, height=height, rotation=rotation, **shared)
