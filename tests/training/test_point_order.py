"""Keypoints of a model in the order of a skeleton."""

from __future__ import annotations

import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.model.labels import Box, Keypoints, Visibility
from specrun.training.point_order import ordered, point_order
from specrun.training.predictor import PointLayout

_POSE = Keypoints(
    label="a", points=np.array([[1.0, 1.0], [2.0, 2.0]]), visibility=(Visibility.VISIBLE, Visibility.OCCLUDED)
)


def test_points_stand_where_the_skeleton_has_them() -> None:
    order = point_order(("nose", "tail"), PointLayout(("tail", "nose")), print)
    assert order is not None
    found, box = ordered([_POSE, Box(label="a", x=0, y=0, width=1, height=1)], order)
    assert isinstance(found, Keypoints)
    assert (found.names, found.points.tolist()) == (("tail", "nose"), [[2.0, 2.0], [1.0, 1.0]])
    assert found.visibility == (Visibility.OCCLUDED, Visibility.VISIBLE)
    assert isinstance(box, Box)


def test_other_names_are_refused_and_told() -> None:
    with pytest.raises(FormatError, match=r"only the model has: tail; only the skeleton has: ear") as caught:
        point_order(("nose", "tail"), PointLayout(("nose", "ear")), print)
    assert "trained with" in str(caught.value)


def test_a_model_without_names_takes_those_of_the_skeleton_if_there_are_as_many() -> None:
    said: list[str] = []
    assert point_order(2, PointLayout(("a", "b")), said.append) == (None, ("a", "b"))
    assert "order of the skeleton" in said[0]
    with pytest.raises(FormatError, match="has 3 points, the model 2"):
        point_order(2, PointLayout(("a", "b", "c")), said.append)


def test_without_a_skeleton_the_model_names_its_points() -> None:
    assert point_order(("nose", "tail"), None, print) == (None, ("nose", "tail"))
    assert point_order(2, None, print) is None
    assert point_order(None, PointLayout(("a",)), print) is None
