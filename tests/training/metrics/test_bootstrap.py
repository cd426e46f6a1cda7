from __future__ import annotations

import math

import numpy as np
import pytest

from specrun.training.metrics.bootstrap import Floats, Resample, differences
from specrun.training.metrics.instances import ImageInstances, Instance, Measure, match_classes
from specrun.training.metrics.overlap import find_pairs


def _mean_of(values: Floats) -> Resample:
    return lambda weights: np.array([float((weights * values).sum() / weights.sum())])


def test_the_interval_holds_the_difference_and_is_the_same_for_the_same_seed() -> None:
    random = np.random.default_rng(1)
    worse, better = random.normal(0.5, 0.1, 200), random.normal(0.6, 0.1, 200)
    rows = [_mean_of(worse), _mean_of(better)]
    ((found,),) = differences(rows, 200, rounds=500, seed=7)
    assert found.difference == pytest.approx(better.mean() - worse.mean())
    assert found.low < found.difference < found.high
    assert found.sure
    spread = math.sqrt((better - worse).var() / 200)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert differences(rows, 200, rounds=500, seed=7) == [[found]]
    assert differences(rows, 200, rounds=500, seed=8) != [[found]]


def test_equal_models_do_not_differ() -> None:
    row = _mean_of(np.arange(10.0))
    ((found,),) = differences([row, row], 10, rounds=50, seed=0)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert not found.sure


def test_what_has_no_score_has_no_interval() -> None:
    row: Resample = lambda weights: np.array([math.nan])  # noqa: E731
    ((found,),) = differences([row, row], 4, rounds=5, seed=0)
    assert math.isnan(found.low)
    assert not found.sure


def test_average_precision_of_weighted_images_is_that_of_repeated_images() -> None:
    random = np.random.default_rng(2)

    def image() -> ImageInstances:
        corners = random.integers(0, 200, (4, 2))
        truth = [Instance(class_index=0, box_xywh=(x, y, 12, 12)) for x, y in corners]
        moves = random.integers(-3, 4, (4, 2))
        scores = random.random(4)
        found = [
            Instance(class_index=0, box_xywh=(x + dx, y + dy, 12, 12), score=score)
            for (x, y), (dx, dy), score in zip(corners, moves, scores, strict=True)
        ]
        return ImageInstances(truth, found)

    images = [image() for _ in range(6)]
    weights = np.array([2.0, 0, 1, 3, 0, 1])
    repeated = [image for image, weight in zip(images, weights, strict=True) for _ in range(int(weight))]
    once, again = (match_classes(find_pairs(rows, Measure.BOX), 100)[0] for rows in (images, repeated))
    weighted, expected = once.precisions(weights), again.precisions()
    assert weighted is not None
    assert expected is not None
    assert expected.mean() > 0
    np.testing.assert_allclose(weighted, expected)
