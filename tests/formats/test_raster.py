import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from specrun.formats.raster import (
    bitmap_to_parts,
    open_ring,
    rasterize,
    rasterize_part,
    ring_contains,
    signed_area,
    split_at_repeats,
)
from specrun.model.labels import Part

bitmaps = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


def ring(*points):
    return np.array(points, dtype=np.float64)


def picture(text):
    return np.array([[character == "#" for character in row] for row in text.split()], dtype=bool)


@given(bitmaps)
@settings(max_examples=300)
def test_tracing_and_drawing_give_the_same_bitmap(bitmap):
    parts = bitmap_to_parts(bitmap)
    assert (rasterize(parts, (bitmap.shape[1], bitmap.shape[0])) == bitmap).all()


@given(bitmaps)
def test_traced_rings_are_simple_and_their_area_counts_the_pixels(bitmap):
    parts = bitmap_to_parts(bitmap)
    for part in parts:
        for each in (part.exterior, *part.holes):
            assert len(np.unique(each, axis=0)) == len(each)
        assert signed_area(part.exterior) > 0
        assert all(signed_area(hole) < 0 for hole in part.holes)
    assert sum(signed_area(each) for part in parts for each in (part.exterior, *part.holes)) == bitmap.sum()


def test_a_single_pixel_is_a_square():
    (part,) = bitmap_to_parts(picture("... .#. ..."))
    assert sorted(map(tuple, part.exterior.tolist())) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_thin_line_is_a_rectangle():
    (part,) = bitmap_to_parts(picture("####"))
    assert len(part.exterior) == 4


def test_pixels_that_touch_at_a_corner_are_two_parts():
    assert len(bitmap_to_parts(picture("#. .#"))) == 2


def test_an_island_in_a_hole_is_a_part_of_its_own():
    parts = bitmap_to_parts(picture("##### #...# #.#.# #...# #####"))
    assert [len(part.holes) for part in parts] == [1, 0]


def test_an_empty_bitmap_has_no_parts():
    assert bitmap_to_parts(np.zeros((3, 4), dtype=bool)) == ()


def test_a_box_from_edge_to_edge_covers_all_pixels():
    full = Part(ring((0, 0), (5, 0), (5, 4), (0, 4)))
    assert rasterize([full], (5, 4)).all()


def test_a_pixel_counts_by_its_centre():
    assert rasterize([Part(ring((0.5, 0.5), (2.5, 0.5), (2.5, 2.5), (0.5, 2.5)))], (4, 4)).sum() == 4
    assert rasterize([Part(ring((0.6, 0.6), (2.4, 0.6), (2.4, 2.4), (0.6, 2.4)))], (4, 4)).sum() == 1


def test_overlapping_parts_are_a_union():
    square = ring((0, 0), (3, 0), (3, 3), (0, 3))
    assert rasterize([Part(square), Part(square + 1)], (4, 4)).sum() == 9 + 9 - 4


def test_a_hole_of_one_part_does_not_cut_into_another():
    outer, inner = ring((0, 0), (6, 0), (6, 6), (0, 6)), ring((2, 2), (4, 2), (4, 4), (2, 4))
    assert rasterize([Part(outer, (inner,)), Part(inner)], (6, 6)).all()


def test_what_lies_outside_is_cut_off():
    assert rasterize([Part(ring((-9, -9), (2, -9), (2, 2), (-9, 2)))], (4, 4)).sum() == 4
    assert rasterize_part(Part(ring((10, 10), (12, 10), (12, 12))), (4, 4)) is None


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), min_size=3, max_size=3))
@settings(max_examples=150)
def test_drawing_differs_from_pycocotools_at_the_border_only(points):
    """COCO's API rounds to fifths of a pixel, so only pixels that an edge touches may differ."""
    corners = ring(*points)
    ours = rasterize([Part(corners)], (20, 20))
    encoded = coco_mask.frPyObjects([corners.ravel().tolist()], 20, 20)
    theirs = coco_mask.decode(coco_mask.merge(encoded)).astype(bool)
    y, x = np.nonzero(ours ^ theirs)
    for px, py in zip(x + 0.5, y + 0.5, strict=True):
        assert distance_to_edges(corners, np.array([px, py])) < 0.75


def distance_to_edges(corners, point):
    nearest = np.inf
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = b - a
        length = float(along @ along)
        share = np.clip((point - a) @ along / length, 0, 1) if length else 0.0
        nearest = min(nearest, float(np.hypot(*(point - a - share * along))))
    return nearest


def test_a_ring_that_returns_to_a_point_is_split_there():
    eight = ring((0, 0), (2, 2), (4, 0), (4, 4), (2, 2), (0, 4))
    assert sorted(abs(signed_area(loop)) for loop in split_at_repeats(eight)) == [4, 4]


@pytest.mark.parametrize(("point", "inside"), [((1, 1), True), ((3, 1), False), ((2.5, 2.5), False)])
def test_points_are_told_inside_from_outside(point, inside):
    assert ring_contains(ring((0, 0), (2, 0), (2, 2), (0, 2)), point) is inside


def test_opening_a_ring_drops_repeated_and_closing_points():
    opened = open_ring(ring((0, 0), (0, 0), (1, 0), (1, 1), (1, 1), (0, 0)))
    assert opened.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert open_ring(ring((2, 2), (2, 2))).tolist() == [[2, 2]]
