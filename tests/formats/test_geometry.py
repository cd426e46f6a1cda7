import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from specrun.formats import geometry
from specrun.formats.geometry import (
    bitmap_to_parts,
    box_corners,
    bridge_holes,
    bridge_parts,
    clip_box,
    clip_parts,
    clip_ring,
    clip_to_image,
    corners_to_box,
    is_rectangle,
    mask_box,
    mask_to_parts,
    parts_overlap,
    polygon_area,
    polygon_box,
    rasterize,
    repair_part,
    repair_ring,
    signed_area,
    smallest_rectangle,
)
from specrun.model.labels import Box, Mask, Part

bitmaps = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=14))
SQUARE = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], dtype=np.float64)
HOLE = np.array([[2, 2], [4, 2], [4, 4], [2, 4]], dtype=np.float64)


def size_of(bitmap):
    return bitmap.shape[1], bitmap.shape[0]


def test_a_box_turns_clockwise_about_its_centre():
    corners = box_corners(Box(label="a", x=0, y=0, width=4, height=2, rotation=90))
    assert np.allclose(corners, [[3, -1], [3, 3], [1, 3], [1, -1]])


@given(st.floats(-50, 50), st.floats(1, 30), st.floats(1, 30), st.floats(0, 359))
def test_a_box_survives_its_corners(x, width, height, rotation):
    box = Box(label="a", x=x, y=3, width=width, height=height, rotation=rotation)
    x2, y2, width2, height2, rotation2 = corners_to_box(box_corners(box))
    assert np.allclose([x2, y2, width2, height2], [x, 3, width, height], atol=1e-9)
    assert abs((rotation2 - rotation + 180) % 360 - 180) < 1e-6


def test_area_and_box_of_a_polygon_with_a_hole():
    part = Part(SQUARE, (HOLE,))
    assert polygon_area([part]) == 96
    assert polygon_box([part, Part(SQUARE + 5)]) == (0, 0, 15, 15)


@given(bitmaps)
@settings(max_examples=200)
def test_one_ring_through_slits_fills_the_same_pixels(bitmap):
    parts = bitmap_to_parts(bitmap)
    for part in parts:
        assert (rasterize([Part(bridge_holes(part))], size_of(bitmap)) == rasterize([part], size_of(bitmap))).all()
        assert signed_area(bridge_holes(part)) == pytest.approx(polygon_area([part]))
    if parts:
        assert (rasterize([Part(bridge_parts(parts))], size_of(bitmap)) == bitmap).all()


def test_few_of_many_parts_are_measured_point_by_point(monkeypatch):
    """A mask of pixels has thousands of parts; the time must not grow with the square or the cube of their number."""
    measured = []
    nearest = geometry._nearest

    def counted(ring, other, box):
        measured.append(len(other))
        return nearest(ring, other, box)

    monkeypatch.setattr(geometry, "_nearest", counted)
    bitmap = np.zeros((40, 400), dtype=bool)
    bitmap[1::10, 1::10] = True
    parts = mask_to_parts(Mask(label="", bitmap=bitmap, left=0, top=0))
    ring = bridge_parts(parts)
    assert (rasterize([Part(ring)], size_of(bitmap)) == bitmap).all()
    assert len(parts) == 160
    assert len(measured) < 5 * len(parts)


@given(bitmaps, st.integers(1, 13), st.integers(1, 13))
def test_clipping_keeps_what_lies_in_the_image(bitmap, width, height):
    inside = bitmap[:height, :width]
    clipped = clip_parts(bitmap_to_parts(bitmap), (width, height))
    drawn = rasterize(clipped, (width, height))
    assert (drawn[: inside.shape[0], : inside.shape[1]] == inside).all()
    assert polygon_area(clipped) == pytest.approx(inside.sum())


def test_clipping_cuts_edges_where_they_cross_the_border():
    clipped = clip_ring(np.array([[5, 5], [15, 5], [5, 15]], dtype=np.float64), (10, 10))
    assert signed_area(clipped) == pytest.approx(25)
    assert clipped.max() == 10


def test_what_lies_outside_is_clipped_to_nothing():
    assert len(clip_ring(SQUARE + 50, (20, 20))) == 0
    assert clip_box((50, 0, 10, 10), (20, 20)) is None
    assert clip_box((-5, 15, 10, 10), (20, 20)) == (0, 15, 5, 5)
    assert clip_to_image(np.array([[-1.0, 30.0]]), (20, 20)).tolist() == [[0, 20]]


def test_a_bow_tie_becomes_two_triangles():
    parts = repair_ring(np.array([[0, 0], [4, 4], [4, 0], [0, 4]], dtype=np.float64))
    assert sorted(polygon_area([part]) for part in parts) == [4, 4]


def test_a_star_drawn_in_one_stroke_keeps_its_hole():
    angles = np.radians(np.arange(5) * 144 - 90)
    star = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 40 + 50.01
    parts = repair_ring(star)
    assert (rasterize(parts, (100, 100)) == rasterize([Part(star)], (100, 100))).all()


@given(st.lists(st.tuples(st.floats(0, 20, width=16), st.floats(0, 20, width=16)), min_size=3, max_size=9))
@example([(1.0, 1.0), (0.0, 0.0), (2.0, 1.0), (0.0, 0.0), (0.0, 2.0), (3.0, 0.0)])
@settings(max_examples=300)
def test_repaired_rings_do_not_cross_themselves_and_fill_the_same_pixels(points):
    # The offset keeps edges off pixel centres, where the last bit of a crossing decides.
    drawn = np.array(points, dtype=np.float64) + np.array([0.0123, 0.0311])
    parts = repair_ring(drawn)
    assert np.count_nonzero(rasterize(parts, (21, 21)) ^ rasterize([Part(drawn)], (21, 21))) <= 1
    for part in parts:
        assert len(np.unique(part.exterior, axis=0)) == len(part.exterior)


def test_a_simple_ring_is_left_as_it_was():
    closed = np.concatenate([SQUARE, SQUARE[:1]])
    (part,) = repair_ring(closed)
    assert part.exterior.tolist() == SQUARE.tolist()


@pytest.mark.parametrize("points", [[[0, 0], [5, 5]], [[0, 0], [5, 5], [10, 10]], [[1, 1]] * 4])
def test_a_ring_without_area_leaves_nothing(points):
    assert repair_ring(np.array(points, dtype=np.float64)) == ()


def test_repairing_a_part_keeps_its_holes():
    (part,) = repair_part(Part(SQUARE, (HOLE,)))
    assert len(part.holes) == 1


def test_overlap_is_told_by_pixels_not_by_boxes():
    assert parts_overlap([Part(SQUARE), Part(SQUARE + 5)], (20, 20))
    assert not parts_overlap([Part(SQUARE), Part(SQUARE + 10)], (20, 20))
    triangle = np.array([[10, 0], [10, 10], [0, 10]], dtype=np.float64)
    assert not parts_overlap([Part(triangle), Part(np.array([[0, 0], [9, 0], [0, 9]], dtype=np.float64))], (20, 20))


def test_the_smallest_rectangle_around_a_turned_box_is_that_box():
    box = Box(label="a", x=10, y=20, width=30, height=8, rotation=33)
    corners = smallest_rectangle(box_corners(box))
    assert np.allclose(sorted(corners.tolist()), sorted(box_corners(box).tolist()))
    assert is_rectangle(corners)
    assert smallest_rectangle(np.array([[0, 0], [1, 1], [2, 2]], dtype=np.float64)) is None


def test_a_mask_lies_where_it_is_placed():
    bitmap = np.zeros((4, 5), dtype=bool)
    bitmap[1:3, 2:4] = True
    mask = Mask(label="a", bitmap=bitmap, left=10, top=20)
    assert mask_box(mask) == (12, 21, 2, 2)
    assert polygon_box(mask_to_parts(mask)) == (12, 21, 2, 2)
    assert mask_box(Mask(label="a", bitmap=np.zeros((2, 2), dtype=bool), left=0, top=0)) is None
