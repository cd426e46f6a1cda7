"""Samples as COCO instances and keypoints.

- A polygon without holes is written as its rings, with the analytic area and box, as COCO's own files have it.
  A hole, or parts that overlap, need a mask: compressed run lengths, whose area is the number of pixels.
- A mask is written as run lengths, or with `masks: polygons` as its outlines along the pixel borders.
- A turned box is written as its four corners, `bbox` around them, and `attributes.rotation`.
- Keypoints and one outline of the same group are one annotation. Bare points are numbered from 1.
- Ids come from digests of the sample's key, so that adding an image changes no other id. 31 bits for images
  and 52 for annotations: pycocotools keeps ids in floats, some readers in 32-bit integers.
- `file_name` is relative to `images/<split>`; `source_name` is the name before the export.
What COCO has no place for (tags, polylines) is left out and counted.
Source: the COCO "Data format" page; `pycocotools.mask`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from specrun.formats.geometry import (
    XYWH,
    box_corners,
    clip_box,
    clip_parts,
    mask_box,
    mask_to_parts,
    parts_overlap,
    points_box,
    polygon_area,
    polygon_box,
    rasterize,
)
from specrun.formats.nouns import noun_of, unknown_class
from specrun.formats.rle import bitmap_to_rle, counts_to_string
from specrun.formats.tally import Tally
from specrun.model.digest import DIGEST_BYTES, bytes_digest
from specrun.model.labels import (
    AnyLabel,
    Bitmap,
    Box,
    Keypoints,
    Mask,
    Part,
    Polygon,
    Polyline,
    Sample,
    Tag,
    Visibility,
)

_IMAGE_BITS = 31
_ANNOTATION_BITS = 52
_ROUNDING = 1e-6
_DECIMALS = 9
_OUTSIDE = "without area in the image {are} left out"
Json = dict[str, Any]


@dataclass(frozen=True)
class Geometry:
    """What an annotation says of the shape."""

    segmentation: Any
    box: XYWH
    area: float

    def to_json(self) -> Json:
        return {"segmentation": self.segmentation, "bbox": [_plain(v) for v in self.box], "area": _plain(self.area)}


@dataclass
class CocoWriter:
    """classes: in the order of the category ids, which start at 1. points: class → names of its keypoints."""

    classes: Sequence[str]
    masks: Literal["rle", "polygons"]
    tally: Tally
    points: Mapping[str, Sequence[str]] = field(default_factory=dict)
    edges: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        self._categories = {name: i for i, name in enumerate(self.classes, start=1)}
        self._image_ids: set[int] = set()
        self._annotation_ids: set[int] = set()

    def categories(self) -> list[Json]:
        rows: list[Json] = []
        for name, number in self._categories.items():
            row: Json = {"id": number, "name": name, "supercategory": ""}
            if names := list(self.points.get(name, ())):
                places = {point: i for i, point in enumerate(names, start=1)}
                row["keypoints"] = names
                row["skeleton"] = [[places[a], places[b]] for a, b in self.edges if a in places and b in places]
            rows.append(row)
        return rows

    def image(self, sample: Sample, file_name: str) -> Json:
        row: Json = {
            "id": _free_id(sample.key, _IMAGE_BITS, self._image_ids),
            "file_name": file_name,
            "width": sample.size_wh[0],
            "height": sample.size_wh[1],
            "source_name": sample.name,
        }
        return row

    def annotations(self, sample: Sample, image_id: int) -> list[Json]:
        """Raises FormatError: a label's class is not among the classes."""
        rows: list[Json] = []
        for number, (label, keypoints) in enumerate(_joined(sample.labels)):
            if isinstance(label, Tag | Polyline):
                self.tally.add(noun_of(label), "{are} not part of COCO")
                continue
            if label.label not in self._categories:
                raise unknown_class(sample, label)
            geometry = self._geometry(label, sample.size_wh)
            if geometry is None:
                self.tally.add(noun_of(label), _OUTSIDE)
                continue
            row: Json = {
                "id": _free_id(f"{sample.key}\0{number}", _ANNOTATION_BITS, self._annotation_ids),
                "image_id": image_id,
                "category_id": self._categories[label.label],
                **geometry.to_json(),
                "iscrowd": int(label.crowd),
            }
            if keypoints is not None:
                row.update(self._keypoints(keypoints))
            rows.append({**row, **_extras(label)})
        return rows

    def _geometry(self, label: Box | Polygon | Mask | Keypoints, size_wh: tuple[int, int]) -> Geometry | None:
        match label:
            case Box():
                return self._box(label, size_wh)
            case Polygon():
                return self._polygon(label, size_wh)
            case Mask():
                return self._mask(label, size_wh)
            case Keypoints():
                box = clip_box(label.box or _visible_box(label), size_wh)
                return Geometry([], box, box[2] * box[3]) if box is not None else None

    def _box(self, label: Box, size_wh: tuple[int, int]) -> Geometry | None:
        if label.rotation % 360:
            # The last bits of sine and cosine differ between machines.
            parts = clip_parts((Part(box_corners(label).round(_DECIMALS)),), size_wh)
            if not parts:
                return None
            self.tally.add("turned box", "{are} written as {their} four corners")
            left, top, width, height = (round(value, _DECIMALS) for value in polygon_box(parts))
            return Geometry(_rings(parts), (left, top, width, height), round(polygon_area(parts), _DECIMALS))
        given = (label.x, label.y, label.width, label.height)
        box = clip_box(given, size_wh)
        if box is None:
            return None
        if max(abs(a - b) for a, b in zip(box, given, strict=True)) > _ROUNDING:
            self.tally.add("box", "{are} cut at the border of the image")
        else:
            # Right edge less left edge is not always the width in floats.
            box = given
        return Geometry([], box, box[2] * box[3])

    def _polygon(self, label: Polygon, size_wh: tuple[int, int]) -> Geometry | None:
        parts = clip_parts(label.parts, size_wh)
        if not parts:
            return None
        if any((p.exterior < 0).any() or (p.exterior > np.array(size_wh)).any() for p in label.parts):
            self.tally.add("polygon", "{are} cut at the border of the image")
        if any(part.holes for part in parts):
            self.tally.add("polygon", "with holes {are} written pixel by pixel")
        elif len(parts) > 1 and parts_overlap(parts, size_wh):
            self.tally.add("polygon", "with overlapping parts {are} written pixel by pixel")
        elif not label.crowd:
            return Geometry(_rings(parts), polygon_box(parts), polygon_area(parts))
        return _run_lengths(rasterize(parts, size_wh))

    def _mask(self, label: Mask, size_wh: tuple[int, int]) -> Geometry | None:
        bitmap = mask_in_image(label, size_wh)
        if self.masks == "polygons" and not label.crowd:
            parts = mask_to_parts(Mask(label="", bitmap=bitmap, left=0, top=0))
            if parts and not any(part.holes for part in parts):
                return Geometry(_rings(parts), polygon_box(parts), polygon_area(parts))
            if parts:
                self.tally.add("mask", "with holes {were} kept as run lengths")
        return _run_lengths(bitmap)

    def _keypoints(self, label: Keypoints) -> Json:
        names = self.points.get(label.label, ())
        places = dict(zip(label.names or names, range(len(label.points)), strict=False))
        flat: list[float] = []
        for name in names:
            place = places.get(name)
            visible = _visibility(label, place)
            flat += (
                [*map(_plain, label.points[place].tolist()), visible] if place is not None and visible else [0, 0, 0]
            )
        return {"keypoints": flat, "num_keypoints": sum(value > 0 for value in flat[2::3])}


def keypoint_names(samples: Iterable[Sample], declared: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Names of the keypoints by class: the declared ones, otherwise as first seen, otherwise numbers from 1."""
    named: dict[str, dict[str, None]] = {}
    longest: Counter[str] = Counter()
    for sample in samples:
        for label in sample.labels:
            if isinstance(label, Keypoints):
                named.setdefault(label.label, {}).update(dict.fromkeys(label.names))
                longest[label.label] = max(longest[label.label], len(label.points))
    found = {name: tuple(seen) or tuple(str(i) for i in range(1, longest[name] + 1)) for name, seen in named.items()}
    return {**found, **{name: tuple(points) for name, points in declared.items() if name in found}}


def mask_in_image(label: Mask, size_wh: tuple[int, int]) -> Bitmap:
    """The mask as a bitmap of the whole image."""
    width, height = size_wh
    rows, columns = label.bitmap.shape
    left, top = max(label.left, 0), max(label.top, 0)
    right, bottom = min(label.left + columns, width), min(label.top + rows, height)
    bitmap = np.zeros((height, width), dtype=bool)
    if left < right and top < bottom:
        inner = label.bitmap[top - label.top : bottom - label.top, left - label.left : right - label.left]
        bitmap[top:bottom, left:right] = inner
    return bitmap


def _joined(labels: Sequence[AnyLabel]) -> list[tuple[AnyLabel, Keypoints | None]]:
    """Each label with its keypoints: an outline and keypoints that share group and class are one object."""
    by_group: dict[tuple[int, str], list[AnyLabel]] = {}
    for label in labels:
        if label.group is not None and isinstance(label, Box | Polygon | Mask | Keypoints):
            by_group.setdefault((label.group, label.label), []).append(label)
    partners: dict[int, Keypoints] = {}
    for members in by_group.values():
        points = [label for label in members if isinstance(label, Keypoints)]
        if len(members) == 2 and len(points) == 1:
            outline = next(label for label in members if label is not points[0])
            partners[id(outline)] = points[0]
    taken = {id(label) for label in partners.values()}
    return [
        (label, label if isinstance(label, Keypoints) else partners.get(id(label)))
        for label in labels
        if id(label) not in taken
    ]


def _extras(label: AnyLabel) -> Json:
    """What COCO does not know but keeps: attributes as CVAT and Datumaro write them, order, group and score."""
    attributes: Json = dict(label.attributes)
    if label.occluded:
        attributes["occluded"] = True
    if isinstance(label, Box) and label.rotation % 360:
        attributes["rotation"] = _plain(label.rotation)
    extras: Json = {"attributes": attributes} if attributes else {}
    if label.z_order:
        extras["z_order"] = label.z_order
    if label.group is not None:
        extras["group_id"] = label.group
    if label.score is not None:
        extras["score"] = _plain(label.score)
    return extras


def _run_lengths(bitmap: Bitmap) -> Geometry | None:
    box = mask_box(Mask(label="", bitmap=bitmap, left=0, top=0))
    if box is None:
        return None
    height, width = bitmap.shape
    counts = counts_to_string(bitmap_to_rle(bitmap))
    return Geometry({"size": [height, width], "counts": counts}, box, float(np.count_nonzero(bitmap)))


def _rings(parts: Sequence[Part]) -> list[list[float]]:
    return [[_plain(value) for value in part.exterior.ravel().tolist()] for part in parts]


def _visible_box(label: Keypoints) -> XYWH:
    visible = [i for i in range(len(label.points)) if _visibility(label, i)]
    return points_box(label.points[visible]) if visible else (0.0, 0.0, 0.0, 0.0)


def _visibility(label: Keypoints, place: int | None) -> int:
    if place is None:
        return 0
    return int(label.visibility[place]) if label.visibility else int(Visibility.VISIBLE)


def _plain(value: float) -> float:
    """Whole numbers without `.0`: shorter files."""
    return int(value) if value == int(value) else value


def _free_id(text: str, bits: int, taken: set[int]) -> int:
    """The digest's leading bits, never 0 (pycocotools takes 0 for "not matched"); the next free one if taken."""
    limit = 1 << bits
    number = int(bytes_digest(text.encode("utf-8", "surrogatepass")), 16) >> (8 * DIGEST_BYTES - bits)
    while not number or number in taken:
        number = (number + 1) % limit
    taken.add(number)
    return number
