"""Pixels for a model, and pictures of what it found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from specrun.formats.geometry import box_corners, rasterize
from specrun.formats.images import read_upright_rgb
from specrun.formats.media import reason_to_convert
from specrun.model.labels import AnyLabel, Bitmap, Box, Keypoints, Mask, Part, Polygon

SHOWN_CONFIDENCE = 0.25
_COLORS = ("#06b6d4", "#ef4444", "#22c55e", "#f59e0b", "#8b5cf6", "#ec4899", "#84cc16", "#3b82f6")
_TINT = 0.45


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
            return _inside(label, size_wh)
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


def _inside(mask: Mask, size_wh: tuple[int, int]) -> tuple[Bitmap, int, int] | None:
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


def overlay(rgb: NDArray[np.uint8], labels: Iterable[AnyLabel], classes: Sequence[str]) -> Image.Image:
    """The image with tinted masks, outlines of boxes, points, and the confidence of each."""
    size_wh = (rgb.shape[1], rgb.shape[0])
    pixels = rgb.astype(np.float32)
    drawn = list(labels)
    for label in drawn:
        if isinstance(label, Mask) and (inside := _inside(label, size_wh)) is not None:
            bitmap, left, top = inside
            window = pixels[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
            window[bitmap] = (1 - _TINT) * window[bitmap] + _TINT * np.array(_rgb(label, classes))
    picture = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for label in drawn:
        _draw(pen, label, classes, max(1, round(max(size_wh) / 400)))
    return picture


def cutout(rgb: NDArray[np.uint8], label: AnyLabel) -> Image.Image | None:
    """RGBA, cut to the label, transparent outside of it."""
    window = label_window(label, (rgb.shape[1], rgb.shape[0]))
    if window is None:
        return None
    bitmap, left, top = window
    inside = rgb[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
    alpha = np.where(bitmap, 255, 0).astype(np.uint8)[:, :, None]
    return Image.fromarray(np.concatenate([inside, alpha], axis=2))


def _draw(pen: Any, label: AnyLabel, classes: Sequence[str], width: int) -> None:
    color = _rgb(label, classes)
    match label:
        case Box():
            corners = [tuple(corner) for corner in box_corners(label)]
        case Mask():
            bottom, right = label.top + label.bitmap.shape[0], label.left + label.bitmap.shape[1]
            corners = [(label.left, label.top), (right, label.top), (right, bottom), (label.left, bottom)]
        case Keypoints():
            for x, y in label.points:
                pen.ellipse([x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width], fill=color)
            return
        case _:
            corners = [(0, 0)]
    if len(corners) > 1:
        pen.polygon(corners, outline=color, width=width)
    score = "" if label.score is None else f" {label.score:.2f}"
    pen.text((corners[0][0] + width, corners[0][1] + width), f"{label.label}{score}", fill=color)


def _rgb(label: AnyLabel, classes: Sequence[str]) -> tuple[int, int, int]:
    color = _COLORS[classes.index(label.label) % len(_COLORS)]
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
