from __future__ import annotations

import math

import numpy as np
import pytest

from specrun.formats.rectangles import corners_to_box


@pytest.mark.parametrize("rotation", [-170.0, -90.0, -30.0, 0.0, 45.0, 90.0, 180.0])
def test_corners_give_back_the_box_they_were_made_of(rotation: float) -> None:
    turn = math.radians(rotation)
    across = np.array([math.cos(turn), math.sin(turn)]) * 3
    down = np.array([-math.sin(turn), math.cos(turn)]) * 1
    corners = np.array([10.0, 20.0]) + np.stack([-across - down, across - down, across + down, down - across])
    box = corners_to_box(corners)
    assert box is not None
    assert np.allclose(box[:4], [7, 19, 6, 2])
    assert math.isclose(math.cos(math.radians(box[4] - rotation)), 1)


@pytest.mark.parametrize(
    "corners",
    [
        [[0, 0], [10, 0], [10, 10]],
        [[0, 0], [10, 0], [14, 10], [4, 10]],
        [[0, 0], [10, 0], [0, 10], [10, 10]],
        [[0, 0], [10, 0], [10, 0], [0, 0]],
    ],
    ids=["three points", "a parallelogram", "crossed", "without height"],
)
def test_other_outlines_are_no_box(corners: list[list[float]]) -> None:
    assert corners_to_box(np.array(corners, dtype=np.float64)) is None


def test_corners_in_the_other_order_are_a_box_too() -> None:
    box = corners_to_box(np.array([[0.0, 0.0], [0.0, 2.0], [6.0, 2.0], [6.0, 0.0]]))
    assert box is not None
    assert np.allclose(box, (2, -2, 2, 6, 90))
