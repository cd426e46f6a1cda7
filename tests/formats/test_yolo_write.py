from pathlib import Path

import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.formats.geometry import bitmap_to_parts, rasterize
from specrun.formats.tally import Tally
from specrun.formats.yolo_write import PoseLayout, Task, YoloWriter, pose_layout
from specrun.model.labels import Box, Keypoints, Mask, Part, Polygon, Polyline, Sample, Tag, Visibility

SQUARE = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], dtype=np.float64)
HOLE = np.array([[15, 15], [25, 15], [25, 25], [15, 25]], dtype=np.float64)


def sample(*labels, size_wh=(100, 50)):
    return Sample(key="a", media=Path("/a.jpg"), name="a.jpg", digest="d", size_wh=size_wh, labels=labels)


def write(task, *labels, pose=PoseLayout(())):
    tally = Tally()
    text = YoloWriter(Task(task), {"a": 0, "b": 1}, pose).text(sample(*labels), tally)
    return [[float(value) for value in line.split()] for line in text.splitlines()], tally.notes()


def polygon(*parts, **values):
    return Polygon(label="a", parts=parts, **values)


def filled(line, size_wh=(100, 50)):
    return rasterize([Part(np.array(line[1:]).reshape(-1, 2) * size_wh)], size_wh)


def test_a_box_is_class_centre_and_size():
    lines, notes = write("detect", Box(label="b", x=10, y=20, width=30, height=10))
    assert lines == [[1, 0.25, 0.5, 0.3, 0.2]]
    assert notes == ()


def test_a_turned_box_becomes_the_box_around():
    lines, notes = write("detect", Box(label="a", x=40, y=20, width=20, height=10, rotation=90))
    assert lines == [[0, 0.5, 0.5, 0.1, 0.4]]
    assert notes == ("1 turned box is written as the box around",)


def test_a_box_is_cut_at_the_border():
    lines, notes = write("detect", Box(label="a", x=-10, y=0, width=30, height=50))
    assert lines == [[0, 0.1, 0.5, 0.2, 1]]
    assert notes == ("1 box is cut at the border of the image",)


def test_what_detect_cannot_hold_is_counted():
    line = Polyline(label="a", points=SQUARE)
    lines, notes = write(
        "detect", line, line, Tag(label="a"), Keypoints(label="a", points=SQUARE), polygon(Part(SQUARE))
    )
    assert lines == [[0, 0.2, 0.4, 0.2, 0.4]]
    assert notes == (
        "1 point label is not part of YOLO detect",
        "1 polygon is written as its box",
        "2 polylines are not part of YOLO detect",
        "1 tag is not part of YOLO detect",
    )


def test_a_polygon_is_its_ring():
    lines, notes = write("segment", polygon(Part(SQUARE)))
    assert np.allclose(np.array(lines[0][1:]).reshape(-1, 2) * (100, 50), SQUARE)
    assert notes == ()


def test_a_hole_is_reached_through_a_slit_and_fills_the_same_pixels():
    lines, notes = write("segment", polygon(Part(SQUARE, (HOLE,))))
    assert filled(lines[0]).sum() == 400 - 100
    assert notes == ("1 polygon with holes is written as one ring through a slit",)


def test_parts_stay_one_object():
    lines, notes = write("segment", polygon(Part(SQUARE), Part(SQUARE + np.array([40, 10]))))
    assert len(lines) == 1
    assert filled(lines[0]).sum() == 800
    assert notes == ("1 polygon of several parts is written as one ring joined by lines",)


def test_overlapping_parts_do_not_become_holes():
    lines, _ = write("segment", polygon(Part(SQUARE), Part(SQUARE + 5)))
    assert filled(lines[0]).sum() == 400 + 400 - 225


def test_a_mask_becomes_its_outline():
    bitmap = np.random.default_rng(0).random((12, 9)) < 0.7
    lines, _ = write("segment", Mask(label="b", bitmap=bitmap, left=20, top=5))
    drawn = filled(lines[0])
    assert (drawn[5:17, 20:29] == bitmap).all()
    assert drawn.sum() == bitmap.sum()
    assert len(bitmap_to_parts(bitmap)) > 1


def test_an_outline_is_cut_at_the_border():
    lines, notes = write("segment", polygon(Part(SQUARE + np.array([80, 0]))))
    assert max(lines[0][1:]) <= 1
    assert filled(lines[0]).sum() == 200
    assert notes == ("1 polygon is cut at the border of the image",)


def test_shapes_without_area_are_left_out():
    flat = polygon(Part(SQUARE[:2]))
    lines, notes = write("segment", flat, polygon(Part(SQUARE + 500)), Box(label="a", x=1, y=1, width=0, height=5))
    assert lines == []
    assert notes == (
        "1 box without area in the image is left out",
        "1 image lost all its labels and is written as negatives",
        "2 polygons without area in the image are left out",
    )


def test_an_oriented_box_keeps_its_corners():
    lines, notes = write("obb", Box(label="a", x=40, y=20, width=20, height=10, rotation=90))
    assert lines == [[0, 0.55, 0.3, 0.55, 0.7, 0.45, 0.7, 0.45, 0.3]]
    assert notes == ()


def test_an_outline_becomes_the_smallest_turned_rectangle():
    diamond = np.array([[50, 10], [60, 20], [50, 30], [40, 20], [50, 10]], dtype=np.float64)
    lines, notes = write("obb", polygon(Part(diamond)), polygon(Part(SQUARE[:3])))
    assert sorted(np.round(lines[0][1:], 6)) == sorted([0.5, 0.2, 0.6, 0.4, 0.5, 0.6, 0.4, 0.4])
    assert notes == ("1 polygon is written as the smallest turned rectangle around",)


def test_keypoints_have_a_box_and_visibility():
    points = np.array([[10, 10], [30, 20], [0, 0]], dtype=np.float64)
    visibility = (Visibility.VISIBLE, Visibility.OCCLUDED, Visibility.ABSENT)
    label = Keypoints(label="a", points=points, names=("l", "r", "x"), visibility=visibility, box=(5, 5, 40, 20))
    lines, notes = write("pose", label, pose=PoseLayout(("r", "l", "x", "y")))
    assert lines == [[0, 0.25, 0.3, 0.4, 0.4, 0.3, 0.4, 1, 0.1, 0.2, 2, 0, 0, 0, 0, 0, 0]]
    assert notes == ()


def test_keypoints_without_a_box_get_one_around_the_visible_points():
    label = Keypoints(label="a", points=np.array([[10, 10], [30, 20]], dtype=np.float64), names=("l", "r"))
    lines, _ = write("pose", label, Box(label="a", x=0, y=0, width=5, height=5), pose=PoseLayout(("l", "r")))
    assert lines == [[0, 0.2, 0.3, 0.2, 0.2, 0.1, 0.2, 2, 0.3, 0.4, 2]]


def test_keypoints_outside_the_image_are_absent():
    label = Keypoints(label="a", points=np.array([[10, 10], [30, 20], [300, 20]], dtype=np.float64))
    lines, notes = write("pose", label, pose=PoseLayout(("0", "1", "2")))
    assert lines[0][-3:] == [0, 0, 0]
    assert notes == ("1 keypoint outside the image is written as absent",)


def test_keypoints_of_another_skeleton_are_an_error_that_names_the_image():
    label = Keypoints(label="a", points=SQUARE[:1], names=("nose",))
    with pytest.raises(FormatError, match=r'^a\.jpg: keypoints of "a"'):
        write("pose", label, pose=PoseLayout(("l", "r")))


def test_a_class_that_is_not_known_is_an_error_that_names_the_image():
    with pytest.raises(FormatError, match=r'^a\.jpg: the label "c" is not among the classes'):
        write("detect", Box(label="c", x=1, y=1, width=5, height=5))


def test_the_skeleton_gives_the_order_and_the_mirror_images():
    layout = pose_layout([], {"points": ["TL", "TR", "BR", "BL"], "flip_pairs": [["TL", "TR"], ["BL", "BR"]]})
    assert layout == PoseLayout(("TL", "TR", "BR", "BL"), (1, 0, 3, 2))


def test_without_a_skeleton_left_and_right_are_mirror_images():
    label = Keypoints(label="a", points=SQUARE[:3], names=("nose", "left_eye", "right_eye"))
    assert pose_layout([sample(label)], None) == PoseLayout(("nose", "left_eye", "right_eye"), (0, 2, 1))


def test_bare_points_are_numbered():
    assert pose_layout([sample(Keypoints(label="a", points=SQUARE))], None) == PoseLayout(("0", "1", "2", "3"))


def test_coordinates_keep_a_millionth_of_a_pixel():
    lines, _ = write("segment", polygon(Part(SQUARE + 1 / 3)))
    assert np.abs(np.array(lines[0][1:]).reshape(-1, 2) * (100, 50) - (SQUARE + 1 / 3)).max() < 1e-6
