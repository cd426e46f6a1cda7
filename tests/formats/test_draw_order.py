from __future__ import annotations

import numpy as np

from specrun.formats.draw_order import in_draw_order
from specrun.model.labels import Box, Mask, Part, Polygon

_RING = np.array([[0, 0], [3, 0], [3, 3], [0, 3]], dtype=float)


def test_nearer_shapes_come_later_and_within_one_depth_smaller_ones() -> None:
    near = Mask(label="near", bitmap=np.ones((9, 9), dtype=bool), left=0, top=0, z_order=1)
    small = Mask(label="small", bitmap=np.ones((2, 2), dtype=bool), left=0, top=0)
    middle = Polygon(label="middle", parts=(Part(_RING),))
    large = Box(label="large", x=0, y=0, width=5, height=5)
    shapes = in_draw_order([near, small, middle, large])
    assert [shape.label for shape in shapes] == ["large", "middle", "small", "near"]


def test_shapes_of_one_size_keep_their_order() -> None:
    first, second = (Polygon(label=name, parts=(Part(_RING),)) for name in ("b", "a"))
    assert [shape.label for shape in in_draw_order([first, second])] == ["b", "a"]
