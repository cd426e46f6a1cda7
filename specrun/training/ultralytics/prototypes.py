"""Masks of a segment model from its prototypes, each computed only within its box.

The library resizes every mask to the whole image and then cuts it. Its resizing is linear along each axis, so a
matrix per axis says what a row or column of the image takes from the prototypes, and the rows and columns of one
box are enough. The result is the library's up to rounding where a value is next to zero.
Source: `process_mask_native` and `scale_masks` of ultralytics/utils/ops.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import AnyLabel, Mask

_Floats = NDArray[np.float32]
_STRIDE = 4
"""Pixels of the model's input to one of its prototypes."""


@dataclass(frozen=True, slots=True)
class Axis:
    """weights: (pixels of the image, prototypes) along one axis. first and last: which are not zero, by pixel."""

    weights: _Floats
    first: NDArray[np.intp]
    last: NDArray[np.intp]


def masks_in_boxes(
    prototypes: _Floats, coefficients: _Floats, boxes_xyxy: _Floats, size_hw: tuple[int, int]
) -> Iterator[tuple[NDArray[np.bool_], int, int]]:
    """For each box a bitmap with its left and top: the box widened to whole pixels, nothing outside of the box.

    prototypes: (k, h, w). coefficients: (n, k). boxes_xyxy: (n, 4) pixels of the image. size_hw: of the image.
    """
    down, across = axes(prototypes.shape[1:], size_hw)  # type: ignore[arg-type]
    for row, (x1, y1, x2, y2) in zip(coefficients, boxes_xyxy.tolist(), strict=True):
        left, top = max(math.floor(x1), 0), max(math.floor(y1), 0)
        right, bottom = min(math.ceil(x2), size_hw[1]), min(math.ceil(y2), size_hw[0])
        if right <= left or bottom <= top:
            yield np.zeros((0, 0), dtype=bool), left, top
            continue
        r0, r1 = int(down.first[top:bottom].min()), int(down.last[top:bottom].max()) + 1
        c0, c1 = int(across.first[left:right].min()), int(across.last[left:right].max()) + 1
        small = np.tensordot(row, prototypes[:, r0:r1, c0:c1], axes=1)
        values = down.weights[top:bottom, r0:r1] @ small @ across.weights[left:right, c0:c1].T
        bitmap = values > 0
        # Only pixels whose corner lies in the box, as the library cuts.
        bitmap[: max(math.ceil(y1) - top, 0)] = False
        bitmap[:, : max(math.ceil(x1) - left, 0)] = False
        yield bitmap, left, top


def mask_labels(
    prototypes: _Floats, found: _Floats, size_hw: tuple[int, int], classes: Sequence[str]
) -> tuple[AnyLabel, ...]:
    """found: (n, 6 + k): box in pixels of the image, confidence, class, coefficients. Empty masks are left out."""
    bitmaps = masks_in_boxes(prototypes, found[:, 6:], found[:, :4], size_hw)
    labels = [
        Mask(label=classes[int(row[5])], score=float(row[4]), bitmap=bitmap, left=left, top=top)
        for row, (bitmap, left, top) in zip(found, bitmaps, strict=True)
        if bitmap.any()
    ]
    return tuple(sorted(labels, key=lambda label: -(label.score or 0.0)))


@lru_cache(maxsize=64)
def axes(prototypes_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[Axis, Axis]:
    """Down and across. Images of many sizes come one after the other: few are remembered."""
    gain = min(_STRIDE * count / length for count, length in zip(prototypes_hw, size_hw, strict=True))
    padding = [
        _STRIDE * count - max(round(length * gain), 1) for count, length in zip(prototypes_hw, size_hw, strict=True)
    ]
    both = padding[0] | padding[1]
    factor = _STRIDE // math.gcd(_STRIDE, both | both // 2)
    scaled_gain = min(factor * count / length for count, length in zip(prototypes_hw, size_hw, strict=True))
    down, across = (
        _axis(count, length, scaled_gain, factor) for count, length in zip(prototypes_hw, size_hw, strict=True)
    )
    return down, across


def _axis(count: int, length: int, gain: float, factor: int) -> Axis:
    """What the library's two resizings and the cut between them do to one prototype after the other."""
    import torch.nn.functional as torch_functional  # heavy, in the prepared environment
    from torch import eye

    planes: Any = eye(count)[None]  # each channel is one prototype along the axis
    if factor > 1:
        planes = torch_functional.interpolate(planes, scale_factor=factor, mode="linear")
    filled = max(round(length * gain), 1)  # what the image takes of the letterbox
    start = round((factor * count - filled) / 2 - 0.1)
    planes = torch_functional.interpolate(planes[..., start : start + filled], length, mode="linear")
    weights = np.ascontiguousarray(planes[0].numpy().T)
    used = weights != 0
    return Axis(weights, used.argmax(axis=1), count - 1 - used[:, ::-1].argmax(axis=1))
