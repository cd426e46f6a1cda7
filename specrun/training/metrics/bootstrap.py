"""How sure a difference between two models is: images are drawn anew with replacement, the same for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Resample = Callable[[Floats], Floats]
"""How often each image counts → a fixed row of scores, NaN where there is none."""
LEVEL = 95.0


@dataclass(frozen=True, slots=True)
class Interval:
    """low, high: the middle 95% of the drawn differences. NaN: nothing to compare."""

    difference: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Zero lies outside."""
        return self.low > 0 or self.high < 0


def differences(
    rows: Sequence[Resample],
    images: int,
    *,
    rounds: int,
    seed: int,
    after_round: Callable[[int], None] = lambda number: None,
) -> list[list[Interval]]:
    """Of each but the first to the first, for each score in their rows; the same for the same seed."""
    random = np.random.default_rng(seed)
    once = np.ones(images)
    given = np.stack([row(once) for row in rows])
    drawn = np.empty((rounds, *given.shape))
    for number in range(rounds):
        weights = np.bincount(random.integers(images, size=images), minlength=images).astype(np.float64)
        drawn[number] = [row(weights) for row in rows]
        after_round(number + 1)
    return [
        [
            _interval(float(given[other, score] - given[0, score]), drawn[:, other, score] - drawn[:, 0, score])
            for score in range(given.shape[1])
        ]
        for other in range(1, len(rows))
    ]


def _interval(difference: float, drawn: Floats) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if np.isnan(difference) or not known.size:
        return Interval(difference, float("nan"), float("nan"))
    low, high = np.percentile(known, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return Interval(difference, float(low), float(high))
