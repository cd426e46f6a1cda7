"""Test-time augmentation: an image is looked at in several ways, and what was found is turned back.

flip: left to right. flip_vertical: top to bottom. rotate: a quarter, a half and three quarters of a turn.
scale: 0.8 and 1.25 of the size. The image as it is is always among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import AnyLabel, Box, Keypoints, Mask
from specrun.training.tiles import Probabilities

NAMES = ("none", "flip", "flip_vertical", "rotate", "scale")
_SCALES = (0.8, 1.25)
_Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class View:
    """One way to look: quarters of a turn (clockwise), then a mirror left to right, then a scale."""

    quarters: int = 0
    mirrored: bool = False
    scale: float = 1.0

    @property
    def plain(self) -> bool:
        return self == View()


def views(names: Sequence[str]) -> tuple[View, ...]:
    """The plain one first."""
    found = [View()]
    for name in names:
        match name:
            case "none":
                pass
            case "flip":
                found.append(View(mirrored=True))
            case "flip_vertical":
                found.append(View(quarters=2, mirrored=True))
            case "rotate":
                found += [View(quarters=number) for number in (1, 2, 3)]
            case "scale":
                found += [View(scale=scale) for scale in _SCALES]
            case _:
                raise ValueError(f"no view is named {name}")
    return tuple(dict.fromkeys(found))


def seen_pixels(view: View, images: _Pixels) -> _Pixels:
    """images: (..., h, w, 3) uint8, as the view shows them."""
    turned = np.rot90(images, -view.quarters, axes=(-3, -2))
    turned = turned[..., ::-1, :] if view.mirrored else turned
    if view.scale != 1.0:
        return _resized(turned, _scaled_wh(view, turned.shape[-2], turned.shape[-3]))
    return np.ascontiguousarray(turned)


def with_views(probabilities: Probabilities, names: Sequence[str]) -> Probabilities:
    """The mean over all views, of the images' own size."""
    chosen = views(names)
    if len(chosen) == 1:
        return probabilities

    def mean(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        total: NDArray[np.float32] | None = None
        for view in chosen:
            found = _original_planes(view, probabilities(seen_pixels(view, images)), images.shape[1:3])
            total = found.astype(np.float32) if total is None else total + found
        assert total is not None
        return total / np.float32(len(chosen))

    return mean


def _original_planes(view: View, planes: _Pixels, size_hw: Sequence[int]) -> _Pixels:
    """planes: (n, classes, h, w) of a view, back on the image's own pixels."""
    if view.scale != 1.0:
        height, width = size_hw if view.quarters % 2 == 0 else (size_hw[1], size_hw[0])
        flat = np.moveaxis(planes, 1, -1)
        planes = np.moveaxis(_resized(np.ascontiguousarray(flat), (width, height)), -1, 1)
    planes = planes[..., ::-1] if view.mirrored else planes
    return np.rot90(planes, view.quarters, axes=(-2, -1))


def _scaled_wh(view: View, width: int, height: int) -> tuple[int, int]:
    return max(1, round(width * view.scale)), max(1, round(height * view.scale))


def _resized(images: _Pixels, size_wh: tuple[int, int]) -> _Pixels:
    """(n, h, w, c) or (h, w, c)."""
    import cv2  # comes with the libraries that predict

    if images.ndim == 3:
        made = cv2.resize(np.ascontiguousarray(images), size_wh, interpolation=cv2.INTER_LINEAR)
        return np.asarray(made).reshape(size_wh[1], size_wh[0], images.shape[2])
    return np.stack([_resized(image, size_wh) for image in images])


Swap = Callable[[int], Sequence[int]]
"""Number of points of a skeleton → the order in which its points stand once the image is mirrored."""


def original_labels(
    view: View, labels: Sequence[AnyLabel], size_wh: tuple[int, int], swap: Swap | None = None
) -> Iterator[AnyLabel]:
    """Labels found on a view, in pixels of the image. size_wh: of the image."""
    width, height = size_wh if view.quarters % 2 == 0 else (size_wh[1], size_wh[0])
    for label in labels:
        moved = label
        if view.scale != 1.0:
            seen = _scaled_wh(view, width, height)
            moved = _stretched(moved, width / seen[0], height / seen[1], (width, height))
        if view.mirrored:
            moved = _mirrored(moved, width, swap)
        size = width, height
        for _ in range(-view.quarters % 4):
            moved, size = _quarter(moved, size), (size[1], size[0])
        yield moved


def _stretched(label: AnyLabel, x: float, y: float, size_wh: tuple[int, int]) -> AnyLabel:
    factors = np.array([x, y])
    match label:
        case Box():
            return replace(label, x=label.x * x, y=label.y * y, width=label.width * x, height=label.height * y)
        case Mask():
            return _stretched_mask(label, x, y, size_wh)
        case Keypoints():
            box = label.box and (label.box[0] * x, label.box[1] * y, label.box[2] * x, label.box[3] * y)
            return replace(label, points=label.points * factors, box=box)
        case _:
            return label


def _stretched_mask(mask: Mask, x: float, y: float, size_wh: tuple[int, int]) -> Mask:
    height, width = mask.bitmap.shape
    left, top = max(round(mask.left * x), 0), max(round(mask.top * y), 0)
    right = min(max(round((mask.left + width) * x), left + 1), size_wh[0])
    bottom = min(max(round((mask.top + height) * y), top + 1), size_wh[1])
    shares = _resized(mask.bitmap[:, :, None].astype(np.float32), (max(right - left, 1), max(bottom - top, 1)))
    return replace(mask, bitmap=shares[:, :, 0] >= 0.5, left=left, top=top)


def _mirrored(label: AnyLabel, width: int, swap: Swap | None) -> AnyLabel:
    match label:
        case Box():
            return replace(label, x=width - label.x - label.width, rotation=-label.rotation)
        case Mask():
            left = width - label.left - label.bitmap.shape[1]
            return replace(label, bitmap=np.ascontiguousarray(label.bitmap[:, ::-1]), left=left)
        case Keypoints():
            box = label.box and (width - label.box[0] - label.box[2], *label.box[1:])
            points = np.stack([width - label.points[:, 0], label.points[:, 1]], axis=1)
            order = list(swap(len(points))) if swap else list(range(len(points)))
            seen = tuple(label.visibility[number] for number in order) if label.visibility else ()
            return replace(label, points=points[order], visibility=seen, box=box)
        case _:
            return label


def _quarter(label: AnyLabel, size_wh: tuple[int, int]) -> AnyLabel:
    """A quarter clockwise: (x, y) of an image of that size goes to (height - y, x)."""
    height = size_wh[1]
    match label:
        case Box() if label.rotation:
            x, y = label.x + label.width / 2, label.y + label.height / 2
            left, top = height - y - label.width / 2, x - label.height / 2
            return replace(label, x=left, y=top, rotation=label.rotation + 90)
        case Box():
            left, top = height - label.y - label.height, label.x
            return replace(label, x=left, y=top, width=label.height, height=label.width)
        case Mask():
            turned_bitmap = np.ascontiguousarray(np.rot90(label.bitmap, -1))
            return replace(label, bitmap=turned_bitmap, left=height - label.top - label.bitmap.shape[0], top=label.left)
        case Keypoints():
            points = np.stack([height - label.points[:, 1], label.points[:, 0]], axis=1)
            box = label.box and (height - label.box[1] - label.box[3], label.box[0], label.box[3], label.box[2])
            return replace(label, points=points, box=box)
        case _:
            return label
