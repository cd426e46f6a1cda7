"""Make this example's data: photographs with a strung frame laid over them, and where its strings cross.

    python specs/keypoints/make_data.py

Divers count corals under such a frame: eleven strings each way, seen at a slant. The photograph is the quickstart's,
`skimage.data.coins()`. The labels are "CVAT for images 1.1" with two skeletons: the four corners of the frame, and the
117 crossings that are not corners. What lies outside of the photograph is absent, and what a coin covers is occluded.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw
from skimage import data, transform

HERE = Path(__file__).parent
TILE = 176
STRINGS = 11
CORNERS = ("TL", "TR", "BR", "BL")
FRAMES = {
    "frame_0.jpg": ("train", (0, 0), ((14, 18), (160, 10), (166, 158), (10, 164))),
    "frame_1.jpg": ("train", (104, 64), ((24, 12), (150, 22), (164, 162), (16, 150))),
    "frame_2.jpg": ("train", (208, 127), ((12, 26), (186, 20), (158, 160), (20, 168))),
    "frame_3.jpg": ("val", (60, 127), ((20, 10), (154, 16), (150, 150), (26, 166))),
}
"""Name: subset, left and top of the tile in the photograph, corners of the frame in the tile; one corner of frame_2
lies outside."""
COVERED = {"frame_1.jpg": (90.0, 88.0, 22.0), "frame_3.jpg": (60.0, 110.0, 16.0)}
"""x, y and radius of what lies on the strings."""
Points = dict[str, tuple[float, float]]


def crossings(corners: tuple[tuple[int, int], ...]) -> np.ndarray:
    """(11, 11, 2) x, y of a square grid seen so that its corners are these."""
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    seen = transform.ProjectiveTransform.from_estimate(square, np.array(corners, float))
    at = np.linspace(0, 1, STRINGS)
    x, y = np.meshgrid(at, at)
    return np.asarray(seen(np.stack([x.ravel(), y.ravel()], axis=1))).reshape(STRINGS, STRINGS, 2)


def draw(photo: np.ndarray, corner_xy: tuple[int, int], grid: np.ndarray, name: str) -> Image.Image:
    left, top = corner_xy
    bare = Image.fromarray(photo[top : top + TILE, left : left + TILE]).convert("RGB")
    tile = bare.copy()
    pen = ImageDraw.Draw(tile)
    for line in (*grid, *grid.transpose(1, 0, 2)):
        pen.line([tuple(point) for point in line], fill=(240, 220, 60), width=1)
    pen.polygon([tuple(grid[r, c]) for r, c in ((0, 0), (0, -1), (-1, -1), (-1, 0))], outline=(255, 255, 255))
    if name in COVERED:
        x, y, radius = COVERED[name]
        mask = Image.new("L", tile.size, 0)
        ImageDraw.Draw(mask).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        tile.paste(bare, mask=mask)
    return tile


def named(grid: np.ndarray) -> tuple[Points, Points]:
    """Corners, clockwise from the top left, and all other crossings, row by row."""
    last = STRINGS - 1
    places = {"TL": (0, 0), "TR": (0, last), "BR": (last, last), "BL": (last, 0)}
    corners = {name: tuple(grid[place]) for name, place in places.items()}
    inner = {
        f"r{row}c{col}": tuple(grid[row, col])
        for row in range(STRINGS)
        for col in range(STRINGS)
        if (row, col) not in places.values()
    }
    return corners, inner


def add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: object) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})
    child.text = text
    return child


def describe_labels(labels: ElementTree.Element, skeletons: dict[str, Points]) -> None:
    for skeleton, points in skeletons.items():
        for name in (skeleton, *points):
            label = add(labels, "label")
            add(label, "name", name)
            add(label, "type", "skeleton" if name == skeleton else "points")
            add(label, "attributes")
            if name != skeleton:
                add(label, "parent", skeleton)


def describe_skeleton(image: ElementTree.Element, label: str, points: Points) -> None:
    skeleton = add(image, "skeleton", label=label, source="manual", z_order=0)
    covered = COVERED.get(image.attrib["name"])
    for name, (x, y) in points.items():
        outside = not (0 <= x <= TILE and 0 <= y <= TILE)
        hidden = covered is not None and np.hypot(x - covered[0], y - covered[1]) < covered[2]
        about = {"label": name, "source": "manual", "outside": int(outside), "occluded": int(hidden)}
        add(skeleton, "points", **about, points=f"{min(max(x, 0), TILE):.2f},{min(max(y, 0), TILE):.2f}")


def main() -> None:
    photo = data.coins()
    root = ElementTree.Element("annotations")
    add(root, "version", "1.1")
    project = add(add(root, "meta"), "project")
    add(project, "name", "frames")
    labels = add(project, "labels")
    for number, (name, (subset, corner_xy, corners)) in enumerate(FRAMES.items()):
        grid = crossings(corners)
        folder = HERE / "data" / "images" / subset
        folder.mkdir(parents=True, exist_ok=True)
        draw(photo, corner_xy, grid, name).save(folder / name, quality=85)
        four, others = named(grid)
        if number == 0:
            describe_labels(labels, {"frame": four, "strings": others})
        image = add(root, "image", id=number, name=name, subset=subset, width=TILE, height=TILE)
        describe_skeleton(image, "frame", four)
        describe_skeleton(image, "strings", others)
    ElementTree.indent(root, space="")
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
    (HERE / "data" / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n', encoding="utf-8", newline="\n"
    )


if __name__ == "__main__":
    main()
