from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.kinds.datasets.geometry import apply_geometry
from specrun.model.labels import AnyLabel, Box, Mask, Part, Polygon, Polyline

POLICY = {"unclosed": "close", "holes": "subtract", "multipart": "group", "invalid": "repair"}
SQUARE = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
HOLE = np.array([[2.0, 2], [4, 2], [4, 4], [2, 4]])
BOW = np.array([[0.0, 0], [10, 10], [10, 0], [0, 10]])


def apply(label: AnyLabel, **policy: str) -> tuple[list[AnyLabel], Counter[str]]:
    counts: Counter[str] = Counter()
    return apply_geometry([label], {**POLICY, **policy}, counts, "a.png"), counts


def polygon(*parts: Part) -> Polygon:
    return Polygon(label="x", parts=parts)


def test_a_whole_polygon_stays_as_it_is() -> None:
    label = polygon(Part(SQUARE, (HOLE,)), Part(SQUARE + 20))
    assert apply(label) == ([label], Counter())


def test_a_line_whose_ends_nearly_meet_is_closed() -> None:
    [closed], counts = apply(
        Polyline(label="x", points=np.array([[0.0, 0], [10, 0], [10, 10], [0, 10], [0, 1]]), z_order=3)
    )
    assert isinstance(closed, Polygon)
    assert closed.z_order == 3
    assert counts == {"unclosed outline closed": 1}


@pytest.mark.parametrize(("policy", "left"), [("keep", 1), ("drop", 0)])
def test_an_unclosed_outline_follows_the_policy(policy: str, left: int) -> None:
    line = Polyline(label="x", points=np.array([[0.0, 0], [10, 0], [10, 10], [0, 10], [0, 1]]))
    assert len(apply(line, unclosed=policy)[0]) == left


def test_an_open_line_stays_a_line() -> None:
    line = Polyline(label="x", points=np.array([[0.0, 0], [10, 0], [20, 3]]))
    assert apply(line)[0] == [line]


def test_holes_can_be_filled() -> None:
    [filled], _ = apply(polygon(Part(SQUARE, (HOLE,))), holes="fill")
    assert isinstance(filled, Polygon)
    assert filled.parts[0].holes == ()


def test_parts_can_become_objects_of_their_own() -> None:
    labels, _ = apply(polygon(Part(SQUARE), Part(SQUARE + 20)), multipart="split")
    assert len(labels) == 2


def test_a_crossing_outline_is_repaired() -> None:
    [mended], counts = apply(polygon(Part(BOW)))
    assert isinstance(mended, Polygon)
    assert len(mended.parts) == 2
    assert counts == {"invalid polygon repaired": 1}


def test_a_crossing_outline_can_be_dropped_or_an_error() -> None:
    assert apply(polygon(Part(BOW)), invalid="drop")[0] == []
    with pytest.raises(FormatError, match=r"a\.png: a polygon of x"):
        apply(polygon(Part(BOW)), invalid="error")


def test_a_polygon_without_area_goes() -> None:
    labels, counts = apply(polygon(Part(SQUARE[:2])))
    assert labels == []
    assert counts == {"polygon without area dropped": 1}


def test_shapes_without_area_go() -> None:
    assert apply(Box(label="x", x=1, y=1, width=0, height=5))[0] == []
    assert apply(Mask(label="x", bitmap=np.zeros((2, 2), bool), left=0, top=0))[0] == []
