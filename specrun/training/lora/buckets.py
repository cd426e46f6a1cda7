"""Aspect-ratio buckets: pictures of nearly one shape go through the network together.

A picture is never enlarged: one that is smaller than the resolution gets a bucket of its own size, rounded down.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture becomes one of its bucket's size. resize_wh covers size_wh; the rest is cut off."""

    size_wh: tuple[int, int]
    resize_wh: tuple[int, int]


def bucket_sizes(resolution_wh: tuple[int, int], step: int) -> tuple[tuple[int, int], ...]:
    """Sizes whose sides are multiples of step and whose area is at most that of the resolution.

    From a quarter of the resolution's side to four times as wide as high.
    """
    area = resolution_wh[0] * resolution_wh[1]
    found = {(resolution_wh[0] // step * step, resolution_wh[1] // step * step)}
    least = max(step, math.isqrt(area) // 2 // step * step)
    for width in range(least, math.isqrt(area * 4) + step, step):
        height = area // width // step * step
        if height >= least:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def fit(size_wh: tuple[int, int], resolution_wh: tuple[int, int], step: int, *, bucketing: bool = True) -> Fit | None:
    """None: the picture is too small, since it would have to be enlarged above one step a side.

    Without bucketing every picture gets the resolution, smaller ones are enlarged.
    """
    if not bucketing:
        return _cover(size_wh, resolution_wh)
    width, height = size_wh
    ratio = width / height
    # Of the sizes whose shape is nearest, the largest.
    nearest = min(
        bucket_sizes(resolution_wh, step),
        key=lambda size: (abs(math.log(size[0] / size[1] / ratio)), -size[0] * size[1]),
    )
    if nearest[0] <= width and nearest[1] <= height:
        return _cover(size_wh, nearest)
    shrunk = min(1.0, math.sqrt(resolution_wh[0] * resolution_wh[1] / (width * height)))
    size = (int(width * shrunk) // step * step, int(height * shrunk) // step * step)
    return _cover(size_wh, size) if min(size) >= step else None


def _cover(size_wh: tuple[int, int], target_wh: tuple[int, int]) -> Fit:
    factor = max(target_wh[0] / size_wh[0], target_wh[1] / size_wh[1])
    resize = (max(target_wh[0], round(size_wh[0] * factor)), max(target_wh[1], round(size_wh[1] * factor)))
    return Fit(target_wh, resize)


def epoch_batches(sizes_wh: Sequence[tuple[int, int]], batch: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """Every index once, in batches of one size, in an order that (seed, epoch) decides.

    The number of batches is the same in every epoch.
    """
    order = random.Random(f"{seed}/{epoch}")
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, size in enumerate(sizes_wh):
        by_size[size].append(index)
    batches: list[tuple[int, ...]] = []
    for size in sorted(by_size):
        indices = by_size[size]
        order.shuffle(indices)
        batches += [tuple(indices[start : start + batch]) for start in range(0, len(indices), batch)]
    order.shuffle(batches)
    return batches


def batches_an_epoch(sizes_wh: Sequence[tuple[int, int]], batch: int) -> int:
    return len(epoch_batches(sizes_wh, batch, 0, 0))
