"""Labels: the small common ground of readers, FiftyOne, exporters, uploads and predictions.

Coordinates are pixels of the upright image (EXIF orientation applied), float64, x to the right and
y down, (0, 0) the outer corner of the top-left pixel, so that a full-image box is (0, 0, w, h).
Imports numpy, so planning must not import this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(n, 2) float64, pixels."""
Bitmap = NDArray[np.bool_]
"""(height, width) bool."""
AttributeValue = str | float | bool


class Visibility(IntEnum):
    """COCO's three values."""

    ABSENT = 0
    OCCLUDED = 1
    VISIBLE = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Label:
    """What every label has.

    label: the class. source_label: the class before the taxonomy, when one was applied.
    group: labels of one image with the same number belong together; None: alone.
    z_order: higher is nearer. score: confidence in [0, 1], None for what people drew.
    crowd: COCO's iscrowd. id: the label's name where it came from.
    """

    label: str
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    source_label: str | None = None
    group: int | None = None
    z_order: int = 0
    score: float | None = None
    occluded: bool = False
    crowd: bool = False
    id: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Tag(Label):
    """A class of the whole image. others: what a model thinks next, most certain first, each with its confidence."""

    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Box(Label):
    """Top-left corner, size and clockwise rotation in degrees about the centre."""

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One connected piece of a polygon: its outline and its holes, each open (first point not repeated)."""

    exterior: Points
    holes: tuple[Points, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Polygon(Label):
    """One object of one or more parts; a pixel is inside if it is inside any part and in none of its holes."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mask(Label):
    """A bitmap placed at (left, top) of the image."""

    bitmap: Bitmap
    left: int
    top: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Polyline(Label):
    """An open line."""

    points: Points


@dataclass(frozen=True, kw_only=True, eq=False)
class Keypoints(Label):
    """names: one a point, empty for bare points. visibility: (n,) of Visibility. box: x, y, w, h if given."""

    points: Points
    names: tuple[str, ...] = ()
    visibility: tuple[Visibility, ...] = ()
    box: tuple[float, float, float, float] | None = None


AnyLabel = Tag | Box | Polygon | Mask | Polyline | Keypoints


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One image and what is known of it.

    key: unique and stable within its source (`<source>/<task or subset>/<relative path>`).
    media: absolute path of the image file. digest: of its bytes. size_wh: upright, pixels.
    name: the path relative to its source's media folder, posix, for readable output names.
    split: train | val | test | None. annotated: somebody looked at it, also when nothing was drawn.
    """

    key: str
    media: Path
    name: str
    digest: str
    size_wh: tuple[int, int]
    split: str | None = None
    tags: tuple[str, ...] = ()
    labels: tuple[AnyLabel, ...] = ()
    annotated: bool = True
    fields: Mapping[str, str | float | int | bool | None] = field(default_factory=dict)
