"""Pixels for a model, and pixels of what it found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from specrun.formats.geometry import box_corners, rasterize
from specrun.formats.images import read_upright_rgb
from specrun.formats.media import reason_to_convert
from specrun.model.labels import AnyLabel, Bitmap, Box, Mask, Part, Polygon

SHOWN_CONFIDENCE = 0.25


def read_for_model(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3), blue first: what a trainer reads from an export of this image.

    Exports link plain images, which trainers read with OpenCV, and convert the rest to upright RGB.
    """
    if reason_to_convert(path) is None:
        import cv2  # comes with the libraries that predict

        pixels = cv2.imread(str(path))
        if pixels is not None:
            return np.asarray(pixels, dtype=np.uint8)
    return np.ascontiguousarray(read_upright_rgb(path)[:, :, ::-1])


def shown(labels: Iterable[AnyLabel], least: float = SHOWN_CONFIDENCE) -> Iterator[AnyLabel]:
    """Those certain enough to be looked at, least certain first, so that the best lie on top."""
    certain = [label for label in labels if label.score is None or label.score >= least]
    yield from sorted(certain, key=lambda label: label.score or 1.0)


def label_window(label: AnyLabel, size_wh: tuple[int, int]) -> tuple[Bitmap, int, int] | None:
    """The pixels of a label as a bitmap with its left and top; None: it has none in the image."""
    match label:
        case Mask():
            return mask_window(label, size_wh)
        case Box():
            whole = rasterize((Part(box_corners(label)),), size_wh)
        case Polygon():
            whole = rasterize(label.parts, size_wh)
        case _:
            return None
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not rows.size:
        return None
    window = whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return window, int(columns[0]), int(rows[0])


def mask_window(mask: Mask, size_wh: tuple[int, int]) -> tuple[Bitmap, int, int] | None:
    left, top = max(mask.left, 0), max(mask.top, 0)
    right = min(mask.left + mask.bitmap.shape[1], size_wh[0])
    bottom = min(mask.top + mask.bitmap.shape[0], size_wh[1])
    if left >= right or top >= bottom:
        return None
    return mask.bitmap[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left], left, top


def class_mask(labels: Iterable[AnyLabel], classes: Sequence[str], size_wh: tuple[int, int]) -> NDArray[np.uint16]:
    """(height, width): 0 background, else the class counted from 1; later labels cover earlier ones."""
    pixels = np.zeros((size_wh[1], size_wh[0]), dtype=np.uint16)
    for label in labels:
        window = label_window(label, size_wh)
        if window is not None:
            bitmap, left, top = window
            target = pixels[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
            target[bitmap] = classes.index(label.label) + 1
    return pixels


def save_class_mask(pixels: NDArray[np.uint16], path: Path) -> None:
    """8 bits as far as they reach, else 16."""
    Image.fromarray(pixels.astype(np.uint8) if pixels.max(initial=0) < 256 else pixels).save(path)


def cutout(rgb: NDArray[np.uint8], label: AnyLabel) -> Image.Image | None:
    """RGBA, cut to the label, transparent outside of it."""
    window = label_window(label, (rgb.shape[1], rgb.shape[0]))
    if window is None:
        return None
    bitmap, left, top = window
    inside = rgb[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
    alpha = np.where(bitmap, 255, 0).astype(np.uint8)[:, :, None]
    return Image.fromarray(np.concatenate([inside, alpha], axis=2))
