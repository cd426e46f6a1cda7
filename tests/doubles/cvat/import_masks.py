"""Segmentation mask 1.1 that comes back: each colour of an object picture is a shape of the class under it."""

from __future__ import annotations

import io
import re
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.doubles.cvat import raster
from tests.doubles.cvat.reading import BINDINGS, Reading
from tests.doubles.cvat.state import Failed, Json

Pixels = npt.NDArray[np.uint32]


def read(reading: Reading, files: dict[str, bytes], *, as_polygons: bool) -> Json:
    colours = _colours(files)
    shapes = []
    for path, content in files.items():
        found = re.search(r"SegmentationObject/(.*)\.png$", path)
        if found is None:
            continue
        frame = reading.frame(found.group(1))
        objects = _pixels(content)
        classes = _pixels(files[path.replace("SegmentationObject/", "SegmentationClass/")])
        for colour in sorted((int(value) for value in np.unique(objects) if value), reverse=True):
            inside = objects == colour
            name = colours[int(classes[inside][0])]
            label = reading.label(name, f"Image {PurePosixPath(path).stem}: can't import annotation")
            head = {"label_id": label.id, "frame": frame, "source": "file", "group": 0, "z_order": 0, "rotation": 0}
            head |= {"occluded": False, "outside": False, "attributes": []}
            shapes.extend({**head, **shape} for shape in _drawn(inside.astype(np.uint8), as_polygons=as_polygons))
    return {"tags": [], "shapes": sorted(shapes, key=lambda shape: shape["frame"]), "tracks": []}


def _drawn(inside: npt.NDArray[np.uint8], *, as_polygons: bool) -> list[Json]:
    if not as_polygons:
        return [{"type": "mask", "points": raster.mask_points(inside)}]
    return [{"type": "polygon", "points": outline} for outline in raster.outline(inside) if len(outline) >= 8]


def _colours(files: dict[str, bytes]) -> dict[int, str]:
    if "labelmap.txt" not in files:
        raise Failed(f'{BINDINGS}.CvatDatasetNotFoundError: Dataset must contain a file: "labelmap.txt"\n')
    found = {}
    for row in files["labelmap.txt"].decode().splitlines():
        if row and not row.startswith("#"):
            name, colour, *_ = row.split(":")
            red, green, blue = (int(value) for value in colour.split(","))
            found[red << 16 | green << 8 | blue] = name
    return found


def _pixels(content: bytes) -> Pixels:
    """(height, width) of 0xRRGGBB."""
    with Image.open(io.BytesIO(content)) as image:
        colours = np.asarray(image.convert("RGB"), np.uint32)
    return np.asarray(colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2], np.uint32)
