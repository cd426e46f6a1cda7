"""Make the quickstart's data: tiles of a photograph of coins, with outlines, as "CVAT for images 1.1".

    python specs/quickstart/make_data.py

Writes `data/annotations.xml` and `data/images/<subset>/` beside this file; what lies there is exactly
what this script makes. The photograph is `skimage.data.coins()`, see README.md for where it comes from.

The tiles of `train` are cut from the lower two rows of coins, those of `val` from the upper two, so no
held-out coin was seen in training. The outlines come from a local threshold and were checked by eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from skimage import data, filters, measure, morphology

HERE = Path(__file__).parent
TILE = 128
HALVES_Y = {"train": (151, 303), "val": (0, 151)}
"""First and last row (exclusive) of each half of the photograph; no coin crosses row 151."""
GRID = {"train": (16, 4), "val": (8, 2)}
"""Tiles across and down; neighbours overlap."""
SIZES = {"tiny": 40.0, "small": 44.2, "medium": 52.0, "large": 1e9}
"""Diameter in pixels below which a coin has that name."""
COLORS = {"tiny": "#3b82f6", "small": "#06b6d4", "medium": "#f59e0b", "large": "#ef4444", "fragment": "#9ca3af"}
SPECK = ("speck", "#d946ef")
FRAGMENT_BELOW = 0.25
"""A coin of which the tile shows less than this share is a `fragment`."""
DATE = "2025-01-01 00:00:00.000000+00:00"

Ring = np.ndarray
"""(n, 2) float64: x, y in pixels, where (0, 0) is the outer corner of the first pixel."""


@dataclass(frozen=True)
class Coin:
    outline: Ring
    area: float

    @property
    def name(self) -> str:
        diameter = 2 * (self.area / np.pi) ** 0.5
        return next(name for name, below in SIZES.items() if diameter < below)


@dataclass(frozen=True)
class Shape:
    """A polygon, or a box when `label` is a speck. cut: it goes on outside the tile."""

    label: str
    points: Ring
    cut: bool = False


def find_coins(photo: np.ndarray) -> tuple[list[Coin], np.ndarray]:
    """The 24 coins with smooth outlines, and the mask of all of them."""
    smooth = filters.gaussian(photo, 1, preserve_range=True)
    bright = smooth > filters.threshold_local(smooth, 95, offset=-6)
    closed = morphology.closing(bright, morphology.disk(2))
    filled = morphology.opening(fill_holes(closed), morphology.disk(3))
    coins, mask = [], np.zeros(photo.shape, bool)
    for region in measure.regionprops(measure.label(filled)):
        if region.area < 800 or region.solidity < 0.93:
            continue
        own = np.zeros(photo.shape)
        own[tuple(region.coords.T)] = 1
        mask |= own > 0
        row_col = max(measure.find_contours(filters.gaussian(own, 1.2), 0.5), key=len)
        ring = measure.approximate_polygon(row_col, 0.25)[:-1, ::-1] + 0.5
        coins.append(Coin(ring, area(ring)))
    return sorted(coins, key=lambda coin: tuple(coin.outline.min(0))), mask


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Everything that the outside does not reach."""
    outside = measure.label(np.pad(~mask, 1, constant_values=True), connectivity=1)
    return (outside != outside[0, 0])[1:-1, 1:-1]


def find_specks(photo: np.ndarray, coins: np.ndarray) -> list[Ring]:
    """Boxes around the bright specks of dust on the background."""
    bright = photo - filters.median(photo, morphology.disk(4)).astype(float) > 30
    bright &= ~morphology.dilation(coins, morphology.disk(5))
    bright[:14], bright[:, 376:] = False, False  # the edge of the plate
    found = []
    for region in measure.regionprops(measure.label(bright)):
        top, left, bottom, right = region.bbox
        found.append(np.array([[left - 1, top - 1], [right + 1, bottom + 1]], float))
    return found


def area(ring: Ring) -> float:
    x, y = ring.T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def clip(ring: Ring) -> Ring:
    """The part inside the tile, one edge after the other (Sutherland and Hodgman)."""
    for axis, bound, sign in ((0, 0, 1), (0, TILE, -1), (1, 0, 1), (1, TILE, -1)):
        kept: list[np.ndarray] = []
        for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            depth_a, depth_b = sign * (a[axis] - bound), sign * (b[axis] - bound)
            if depth_a >= 0:
                kept.append(a)
            if (depth_a >= 0) != (depth_b >= 0):
                kept.append(a + (b - a) * depth_a / (depth_a - depth_b))
        ring = np.array(kept).reshape(-1, 2)
        if len(ring) == 0:
            break
    return ring


def shapes_in_tile(corner_xy: tuple[int, int], coins: Sequence[Coin], specks: Sequence[Ring]) -> Iterator[Shape]:
    for coin in coins:
        ring = clip(coin.outline - corner_xy)
        share = area(ring) / coin.area if len(ring) > 2 else 0.0
        if share > 0.01:
            yield Shape(coin.name if share >= FRAGMENT_BELOW else "fragment", ring, cut=share < 0.999)
    for box in specks:
        inside = box - corner_xy
        if inside.min() >= 0 and inside.max() <= TILE:
            yield Shape(SPECK[0], inside)


def corners(subset: str, width: int) -> list[tuple[int, int]]:
    """Left top corners of the tiles of a half, spread evenly."""
    first, last = HALVES_Y[subset]
    across, down = GRID[subset]
    xs = np.linspace(0, width - TILE, across).round().astype(int)
    ys = np.linspace(first, last - TILE, down).round().astype(int)
    return [(int(x), int(y)) for y, x in product(ys, xs)]


def add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: object) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})
    child.text = text
    return child


def describe_project(root: ElementTree.Element, counts: dict[str, int]) -> None:
    """`<meta>` as CVAT writes it for a project of one task a subset."""
    add(root, "version", "1.1")
    meta = add(root, "meta")
    project = add(meta, "project")
    for tag, text in (("id", "1"), ("name", "coins"), ("bugtracker", ""), ("created", DATE), ("updated", DATE)):
        add(project, tag, text)
    tasks = add(project, "tasks")
    for number, (subset, size) in enumerate(counts.items(), start=1):
        task = add(tasks, "task")
        facts = {"id": number, "name": f"coins-{subset}", "size": size, "mode": "annotation", "overlap": 0}
        dates = {"bugtracker": "", "created": DATE, "updated": DATE, "subset": subset}
        frames = {"start_frame": 0, "stop_frame": size - 1, "frame_filter": ""}
        for tag, value in {**facts, **dates, **frames}.items():
            add(task, tag, str(value))
    add(project, "subsets", "\n".join(counts))
    labels = add(project, "labels")
    for name, color in (*COLORS.items(), SPECK):
        label = add(labels, "label")
        add(label, "name", name)
        add(label, "color", color)
        add(label, "type", "rectangle" if name == SPECK[0] else "polygon")
        add(label, "attributes")
    add(meta, "dumped", DATE)


def describe_shape(image: ElementTree.Element, shape: Shape) -> None:
    shared = {"label": shape.label, "source": "manual", "occluded": int(shape.cut)}
    if shape.label == SPECK[0]:
        (left, top), (right, bottom) = shape.points
        box = {"xtl": f"{left:.2f}", "ytl": f"{top:.2f}", "xbr": f"{right:.2f}", "ybr": f"{bottom:.2f}"}
        add(image, "box", **shared, **box, z_order=0)
        return
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
    add(image, "polygon", **shared, points=points, z_order=0)


def main() -> None:
    photo = data.coins()
    coins, mask = find_coins(photo)
    specks = find_specks(photo, mask)
    root = ElementTree.Element("annotations")
    tiles = {subset: corners(subset, photo.shape[1]) for subset in HALVES_Y}
    describe_project(root, {subset: len(found) for subset, found in tiles.items()})
    for task, (subset, found) in enumerate(tiles.items(), start=1):
        folder = HERE / "data" / "images" / subset
        folder.mkdir(parents=True, exist_ok=True)
        for number, (x, y) in enumerate(found):
            name = f"coins_{subset}_{number:02d}.png"
            Image.fromarray(photo[y : y + TILE, x : x + TILE]).save(folder / name, optimize=True)
            about = {"id": number, "name": name, "subset": subset, "task_id": task, "width": TILE, "height": TILE}
            image = add(root, "image", **about)
            for shape in shapes_in_tile((x, y), coins, specks):
                describe_shape(image, shape)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
    (HERE / "data" / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n', encoding="utf-8", newline="\n"
    )


if __name__ == "__main__":
    main()
