"""Make this example's data: four points on each whole coin of three tiles, as "CVAT for images 1.1".

    python specs/skeletons/make_data.py

The tiles are the quickstart's, and so are the outlines that the points are taken from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

HERE = Path(__file__).parent
QUICKSTART = HERE.parent / "quickstart" / "data" / "annotations.xml"
TILES = ("coins_val_08.png", "coins_val_09.png", "coins_val_13.png")
POINTS: dict[str, Callable[[np.ndarray], int]] = {
    "top": lambda xy: int(xy[:, 1].argmin()),
    "right": lambda xy: int(xy[:, 0].argmax()),
    "bottom": lambda xy: int(xy[:, 1].argmax()),
    "left": lambda xy: int(xy[:, 0].argmin()),
}
PLACES = {"top": (50, 10), "right": (90, 50), "bottom": (50, 90), "left": (10, 50)}
"""Where CVAT draws the points in its sketch of the skeleton, in percent."""


def sketch() -> str:
    """The skeleton as CVAT keeps it: SVG elements, edges first."""
    names = list(POINTS)
    edges = [(i + 1, (i + 1) % len(names) + 1) for i in range(len(names))]
    lines = [
        f'<line x1="{PLACES[names[a - 1]][0]}" y1="{PLACES[names[a - 1]][1]}" x2="{PLACES[names[b - 1]][0]}" '
        f'y2="{PLACES[names[b - 1]][1]}" data-type="edge" data-node-from="{a}" data-node-to="{b}"></line>'
        for a, b in edges
    ]
    circles = [
        f'<circle r="0.75" cx="{PLACES[name][0]}" cy="{PLACES[name][1]}" data-type="element node" '
        f'data-element-id="{i}" data-node-id="{i}" data-label-name="{name}"></circle>'
        for i, name in enumerate(names, start=1)
    ]
    return "".join(lines + circles)


def add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: object) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})
    child.text = text
    return child


def describe_task(root: ElementTree.Element) -> None:
    add(root, "version", "1.1")
    task = add(add(root, "meta"), "task")
    for tag, text in (("id", "1"), ("name", "coin-points"), ("size", str(len(TILES))), ("subset", "val")):
        add(task, tag, text)
    labels = add(task, "labels")
    for name in ("coin", *POINTS):
        label = add(labels, "label")
        add(label, "name", name)
        add(label, "type", "skeleton" if name == "coin" else "points")
        add(label, "attributes")
        add(label, "svg", sketch()) if name == "coin" else add(label, "parent", "coin")


def main() -> None:
    root = ElementTree.Element("annotations")
    describe_task(root)
    tiles = {image.get("name"): image for image in ElementTree.parse(QUICKSTART).getroot().iter("image")}
    for number, name in enumerate(TILES):
        image = add(root, "image", id=number, name=name, width=128, height=128)
        for polygon in tiles[name].iter("polygon"):
            if polygon.get("occluded") == "1":
                continue
            xy = np.array([point.split(",") for point in polygon.attrib["points"].split(";")], float)
            skeleton = add(image, "skeleton", label="coin", source="manual", z_order=0)
            for point, choose in POINTS.items():
                x, y = xy[choose(xy)]
                about = {"label": point, "source": "manual", "outside": 0, "occluded": 0}
                add(skeleton, "points", **about, points=f"{x:.2f},{y:.2f}")
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
    (HERE / "data" / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n', encoding="utf-8", newline="\n"
    )


if __name__ == "__main__":
    main()
