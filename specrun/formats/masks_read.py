"""Segmentation masks beside their images: a pixel's value is the index of its class, or its colour is the
one that a `labelmap.txt` gives the class.

- Layout: `[<split>/]images[/…]/a.jpg` with `[<split>/]masks[/…]/a.png`; likewise `images/<split>/…`, and
  MMSegmentation's `img_dir/<split>` with `ann_dir/<split>`, or `JPEGImages` with `SegmentationClass`.
- Each class of an image becomes one mask (regions are not told apart). `ignore_index` is nobody's class.
- An image without a mask was not annotated. A value that is no class is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from specrun.errors import FormatError
from specrun.formats.image_names import IMAGE_SUFFIXES
from specrun.formats.images import read_indices, read_upright_rgb
from specrun.formats.labelmap import BACKGROUND, RGB, load_labelmap
from specrun.formats.layouts import LABELMAP_NAME
from specrun.formats.reading import Entry, Reading, split_folder
from specrun.model.labels import Bitmap, Mask

_PAIRS = {"images": ("masks", "labels", "annotations"), "img_dir": ("ann_dir",), "JPEGImages": ("SegmentationClass",)}


def read_masks(path: Path, reading: Reading, classes: Sequence[str], ignore_index: int | None) -> Iterator[Entry]:
    """path: the folder that holds images and masks. classes empty: labelmap.txt has them, with their colours.
    Raises FormatError naming file, value and place."""
    colors = {} if classes else _colors(path, reading.media.root)
    reading.add_classes(classes or (name for name in colors if name != BACKGROUND))
    images = [name for name in reading.media.names if _image_folder(name) is not None]
    if not images:
        raise FormatError(
            f"{path}: holds no images in a folder called {', '.join(_PAIRS)}.",
            hint="Lay it out as <split>/images/a.jpg beside <split>/masks/a.png.",
        )
    for name in images:
        subset = split_folder(name)
        if not reading.wants(subset):
            continue
        mask = _mask_of(path, reading.media.root, name)
        if mask is None:
            yield reading.entry_of(name, (), subset=subset, group="", annotated=False)
            continue
        values = _color_codes(read_upright_rgb(mask)) if colors else read_indices(mask)
        if colors:
            labels = tuple(_labels_by_color(values, mask, colors))
        else:
            labels = tuple(_labels(values, mask, classes, ignore_index, reading))
        stated = (values.shape[1], values.shape[0])
        yield reading.entry_of(name, labels, subset=subset, group="", stated_wh=stated)


def _colors(path: Path, media_root: Path) -> dict[str, RGB]:
    for folder in dict.fromkeys((path, media_root)):
        if (file := folder / LABELMAP_NAME).is_file():
            return load_labelmap(file)
    raise FormatError(
        f"{path}: says nowhere what its masks mean.",
        hint=f"List the classes in the order of the pixel values in `classes`, or add a {LABELMAP_NAME} with colours.",
    )


def _image_folder(name: str) -> int | None:
    """Where in the path the folder of images stands."""
    parts = PurePosixPath(name).parts[:-1]
    return next((i for i, part in enumerate(parts) if part in _PAIRS), None)


def _mask_of(path: Path, media_root: Path, name: str) -> Path | None:
    parts = list(PurePosixPath(name).parts)
    place = _image_folder(name)
    assert place is not None
    for folder in _PAIRS[parts[place]]:
        parts_of_mask = [*parts[:place], folder, *parts[place + 1 :]]
        for root in dict.fromkeys((path, media_root)):
            stem = root.joinpath(*parts_of_mask)
            for suffix in (".png", *IMAGE_SUFFIXES):
                if (candidate := stem.with_suffix(suffix)).is_file():
                    return candidate
    return None


def _labels(
    values: NDArray[np.integer], mask: Path, classes: Sequence[str], ignore_index: int | None, reading: Reading
) -> Iterator[Mask]:
    for value in np.unique(values).tolist():
        here = values == value
        if value == ignore_index:
            reading.lost.add("image", f"{{have}} pixels of the value {value} (ignore_index), which carry no label")
            continue
        if not 0 <= value < len(classes):
            x, y = _first_pixel(here)
            raise FormatError(
                f"{mask}: the value {value} at x={x}, y={y} is no class; there are {len(classes)} (0 to "
                f"{len(classes) - 1}).",
                hint="Add the class, or set ignore_index.",
            )
        yield _cut_out(classes[value], here)


def _labels_by_color(codes: NDArray[np.int64], mask: Path, colors: Mapping[str, RGB]) -> Iterator[Mask]:
    names = {(red << 16) + (green << 8) + blue: name for name, (red, green, blue) in colors.items()}
    for code in np.unique(codes).tolist():
        here = codes == code
        if code not in names:
            x, y = _first_pixel(here)
            color = f"{code >> 16},{code >> 8 & 255},{code & 255}"
            raise FormatError(
                f"{mask}: the colour {color} at x={x}, y={y} is no class of {LABELMAP_NAME}.",
                hint="Add a line for it; masks that were saved as JPEG have blurred colours and cannot be read.",
            )
        if names[code] != BACKGROUND:
            yield _cut_out(names[code], here)


def _color_codes(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(height, width): the three bytes of a colour as one number."""
    wide = rgb.astype(np.int64)
    return (wide[:, :, 0] << 16) + (wide[:, :, 1] << 8) + wide[:, :, 2]


def _first_pixel(here: Bitmap) -> tuple[int, int]:
    y, x = np.argwhere(here)[0].tolist()
    return x, y


def _cut_out(label: str, here: Bitmap) -> Mask:
    rows, columns = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    cropped = here[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].copy()
    return Mask(label=label, bitmap=cropped, left=left, top=top)
