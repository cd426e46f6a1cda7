"""Segmentation mask 1.1: coloured PNGs of classes and of objects, as in PASCAL VOC."""

from __future__ import annotations

import io
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from tests.doubles.cvat import dataset, raster
from tests.doubles.cvat.dataset import Item, Labels
from tests.doubles.cvat.format_coco import EXPORTED, by_subset, image_name
from tests.doubles.cvat.state import Job, Project, State, Task

Colour = tuple[int, int, int]


def files(state: State, target: Project | Task | Job, *, save_images: bool) -> dict[str, bytes]:
    """A frame without shapes has no PNG; of equal names in two subsets the last one stays."""
    labels = dataset.labels_of(state, target)
    found = {"labelmap.txt": _labelmap(labels)}
    for subset, items in by_subset(state, target).items():
        for item in items:
            stem = str(PurePosixPath(item.name).with_suffix(""))
            if (painted := _painted(item, labels)) is not None:
                found[f"SegmentationClass/{stem}.png"], found[f"SegmentationObject/{stem}.png"] = painted
            if save_images:
                found[f"JPEGImages/{image_name(item)}"] = item.content()
        stems = [str(PurePosixPath(item.name).with_suffix("")) for item in items]
        found[f"ImageSets/Segmentation/{subset}.txt"] = "".join(f"{stem}\n" for stem in stems).encode()
    return found


def _rgb(colour: str) -> Colour:
    value = colour.lstrip("#")
    return int(value[0:2], 16), int(value[2:4], 16), int(value[4:6], 16)


def _labelmap(labels: Labels) -> bytes:
    colours = {label.name: _rgb(label.color) for label in labels.every} | {"background": (0, 0, 0)}
    rows = [f"{name}:{red},{green},{blue}::\n" for name, (red, green, blue) in sorted(colours.items())]
    return "".join(["# label:color_rgb:parts:actions\n", *rows]).encode()


def _painted(item: Item, labels: Labels) -> tuple[bytes, bytes] | None:
    shapes = [shape for shape in item.shapes if shape["type"] in EXPORTED]
    if not shapes:
        return None
    width, height = item.size_wh
    classes, objects = np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)
    for number, shape in enumerate(shapes, 1):
        inside = raster.pixels(shape, item.size_wh).astype(bool)
        classes[inside] = _rgb(labels.by_id(shape["label_id"]).color)
        objects[inside] = voc_colour(number)
    return _png(classes), _png(objects)


def voc_colour(number: int) -> Colour:
    """The palette of PASCAL VOC: the bits of the number spread over the three channels, highest first."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= ((number >> (3 * place + channel)) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


def _png(pixels: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format="PNG")
    return target.getvalue()
