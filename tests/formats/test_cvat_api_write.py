import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from specrun.formats.cvat_api_values import AttributeTarget
from specrun.formats.cvat_api_write import LabelTarget, Writing, labels_to_cvat, mask_points
from specrun.formats.geometry import rasterize
from specrun.formats.rle import cvat_rle_to_bitmap
from specrun.formats.simplify import simplify_ring
from specrun.model.labels import Box, Keypoints, Mask, Part, Polygon, Polyline, Tag, Visibility

SQUARE = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], dtype=np.float64)
HOLE = np.array([[15, 15], [25, 15], [25, 25], [15, 25]], dtype=np.float64)
SIZE_WH = (100, 50)
CORAL = LabelTarget(7)
GRID = LabelTarget(3, points={"TL": LabelTarget(4), "TR": LabelTarget(5, {"lit": AttributeTarget(9, "checkbox")})})


def write(label, target=CORAL, **writing):
    how = Writing(**writing)
    return labels_to_cvat([(label, target)], 2, SIZE_WH, how), how.lost.notes()


def only(label, target=CORAL, **writing):
    found, notes = write(label, target, **writing)
    assert notes == ()
    (shape,) = found["shapes"]
    return shape


def drawn(points):
    """The mask of CVAT's points in the whole image."""
    *counts, left, top, right, bottom = (int(value) for value in points)
    image = np.zeros(SIZE_WH[::-1], dtype=bool)
    image[top : bottom + 1, left : right + 1] = cvat_rle_to_bitmap(counts, (right - left + 1, bottom - top + 1))
    return image


def test_a_polygon_keeps_its_points_order_group_and_layer():
    shape = only(Polygon(label="c", parts=(Part(SQUARE),), group=4, z_order=2, occluded=True))
    assert shape == {
        "type": "polygon",
        "frame": 2,
        "label_id": 7,
        "points": [10, 10, 30, 10, 30, 30, 10, 30],
        "group": 4,
        "z_order": 2,
        "occluded": True,
        "source": "file",
        "attributes": [],
    }


def test_parts_become_polygons_of_one_group_and_holes_are_told():
    label = Polygon(label="c", parts=(Part(SQUARE, (HOLE,)), Part(SQUARE + np.array([40, 0]))))
    found, notes = write(label, shape="polygon")
    assert [shape["group"] for shape in found["shapes"]] == [1, 1]
    assert notes == (
        "1 hole is filled, since CVAT's polygons have none: shape: mask keeps them",
        "1 polygon of several parts is sent as polygons that share a group",
    )


def test_holes_and_parts_survive_as_a_mask():
    parts = (Part(SQUARE, (HOLE,)), Part(SQUARE + np.array([40, 0])))
    shape = only(Polygon(label="c", parts=parts), shape="mask")
    assert shape["type"] == "mask"
    assert (drawn(shape["points"]) == rasterize(parts, SIZE_WH)).all()


def test_a_mask_is_run_lengths_of_its_window_and_the_window():
    assert mask_points(np.ones((2, 2), dtype=bool), 10, 10, SIZE_WH) == [0, 4, 10, 10, 11, 11]
    bitmap = np.array([[0, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=bool)
    assert mask_points(bitmap, 4, 6, SIZE_WH) == [0, 2, 1, 1, 5, 7, 6, 8]


@given(arrays(np.bool_, (6, 8)), st.integers(-9, 101), st.integers(-7, 51))
def test_a_mask_never_reaches_beyond_the_image(bitmap, left, top):
    wanted = np.zeros((200, 300), dtype=bool)
    wanted[100 + top : 106 + top, 100 + left : 108 + left] = bitmap
    wanted = wanted[100:150, 100:200]
    points = mask_points(bitmap, left, top, SIZE_WH)
    assert (drawn(points) == wanted).all() if points else not wanted.any()


def test_a_mask_as_polygon_follows_it_within_the_tolerance():
    disk = np.hypot(*(np.mgrid[:41, :41] - 20)) <= 18
    exact = only(Mask(label="c", bitmap=disk, left=5, top=3), shape="polygon", simplify=0)
    simple = only(Mask(label="c", bitmap=disk, left=5, top=3), shape="polygon")
    rings = [np.array(shape["points"]).reshape(-1, 2) for shape in (exact, simple)]
    first, second = (rasterize((Part(ring),), SIZE_WH) for ring in rings)
    assert (first[3:44, 5:46] == disk).all()
    assert len(rings[1]) < len(rings[0]) / 2
    assert (first & second).sum() / (first | second).sum() > 0.93


def test_simplifying_never_makes_a_ring_of_no_area():
    thin = np.array([[0, 0], [50, 0], [50, 0.2], [25, 0.3], [0, 0.2]], dtype=np.float64)
    assert (simplify_ring(thin, 1.0) == thin).all()


def test_a_box_keeps_its_turn_as_a_rectangle_and_as_corners():
    box = Box(label="c", x=10, y=20, width=40, height=10, rotation=-30)
    shape = only(box, shape="rectangle")
    assert (shape["points"], shape["rotation"]) == ([10, 20, 50, 30], 330)
    corners = np.array(only(box, shape="polygon")["points"]).reshape(4, 2)
    assert corners.mean(axis=0) == pytest.approx([30, 25])


def test_a_score_is_sent_as_score_and_in_the_unit_of_the_attribute():
    target = LabelTarget(7, {"confidence": AttributeTarget(11, "number", ("0", "100", "1"))})
    shape = only(Box(label="c", x=0, y=0, width=9, height=9, score=0.873), target)
    assert (shape["source"], shape["score"]) == ("auto", 0.873)
    assert shape["attributes"] == [{"spec_id": 11, "value": "87"}]
    share = LabelTarget(7, {"sure": AttributeTarget(12, "number", ("0", "1", "0.01"))})
    shape = only(Box(label="c", x=0, y=0, width=9, height=9, score=0.873), share, confidence="sure")
    assert shape["attributes"] == [{"spec_id": 12, "value": "0.87"}]


def test_attributes_are_text_and_those_unknown_in_cvat_are_told():
    attributes = {"sick": AttributeTarget(1, "checkbox"), "age": AttributeTarget(2, "number", ("0", "9", "1"))}
    target = LabelTarget(7, attributes | {"kind": AttributeTarget(3, "select", ("hard", "soft"))})
    box = Box(label="c", x=0, y=0, width=9, height=9, attributes={"sick": True, "age": 3.0, "kind": "odd", "by": "me"})
    found, notes = write(box, target)
    values = found["shapes"][0]["attributes"]
    assert values == [{"spec_id": 1, "value": "true"}, {"spec_id": 2, "value": "3"}]
    assert len(notes) == 2


def test_a_skeleton_has_an_element_for_every_point_of_its_definition():
    label = Keypoints(
        label="g",
        points=np.array([[5.0, 6.0]]),
        names=("TR",),
        visibility=(Visibility.OCCLUDED,),
        attributes={"TR.lit": True},
    )
    shape = only(label, GRID)
    assert (shape["type"], shape["points"]) == ("skeleton", [])
    absent, there = shape["elements"]
    assert (absent["label_id"], absent["outside"], absent["frame"]) == (4, True, 2)
    assert (there["label_id"], there["points"], there["occluded"], there["outside"]) == (5, [5, 6], True, False)
    assert there["attributes"] == [{"spec_id": 9, "value": "true"}]


def test_points_without_names_take_those_of_the_skeleton_when_they_are_as_many():
    label = Keypoints(label="g", points=np.array([[5.0, 6.0], [7.0, 8.0]]))
    assert [element["points"] for element in only(label, GRID, shape="skeleton")["elements"]] == [[5, 6], [7, 8]]
    found, notes = write(Keypoints(label="g", points=np.array([[5.0, 6.0]])), GRID, shape="skeleton")
    assert found["shapes"] == []
    assert notes == ("1 point label has another number of points than the skeleton and was left out",)


def test_tags_are_sent_whatever_the_shape():
    found, _ = write(Tag(label="c", score=0.5), shape="mask")
    assert found["tags"] == [{"frame": 2, "label_id": 7, "source": "auto", "attributes": [], "group": 0}]
    assert found["shapes"] == []


def test_what_cannot_be_that_shape_is_left_out_and_told():
    line = Polyline(label="c", points=SQUARE)
    found, notes = write(line, shape="mask")
    assert (found["shapes"], notes) == ([], ("1 polyline cannot be sent as masks and was left out",))
    assert only(line)["type"] == "polyline"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc", None),
        ("nan", None),
        (55.5, "10"),
        (-3, "0"),
        (3.26, "3.5"),
        (3.5, "3.5"),
    ],
)
def test_a_number_lies_in_its_range_and_on_its_steps(given, kept):
    target = LabelTarget(7, {"depth": AttributeTarget(5, "number", ("0", "10", "0.5"))})
    found, notes = write(Tag(label="c", attributes={"depth": given}), target)
    assert [value["value"] for value in found["tags"][0]["attributes"]] == ([kept] if kept else [])
    assert bool(notes) == (given != 3.5)


@pytest.mark.parametrize(("given", "kept"), [(True, "true"), (1, "true"), ("No", "false"), ("maybe", None)])
def test_a_checkbox_is_true_or_false(given, kept):
    target = LabelTarget(7, {"dead": AttributeTarget(5, "checkbox")})
    found, notes = write(Tag(label="c", attributes={"dead": given}), target)
    assert [value["value"] for value in found["tags"][0]["attributes"]] == ([kept] if kept else [])
    assert bool(notes) == (kept is None)


@pytest.mark.parametrize(
    ("label", "type"),
    [
        (Polygon(label="c", parts=(Part(SQUARE),)), "rectangle"),
        (Polygon(label="c", parts=(Part(SQUARE),)), "skeleton"),
        (Box(label="c", x=1, y=1, width=5, height=5), "polygon"),
        (Tag(label="c"), "mask"),
    ],
)
def test_a_label_takes_only_the_shape_of_its_type(label, type):
    found, notes = write(label, LabelTarget(7, type=type))
    assert found == {"tags": [], "shapes": []}
    assert f"with a label of type {type} and was left out" in notes[0]
    assert write(label, LabelTarget(7, type="any"))[1] == ()


def test_what_reaches_beyond_the_image_is_cut_off_at_its_border():
    found, notes = write(Polygon(label="c", parts=(Part(SQUARE - np.array([20, 0])),)))
    assert sorted(zip(*[iter(found["shapes"][0]["points"])] * 2, strict=True)) == [(0, 10), (0, 30), (10, 10), (10, 30)]
    assert notes == ("1 polygon was cut off at the border of the image",)
    found, _ = write(Box(label="c", x=-5, y=40, width=20, height=30))
    assert found["shapes"][0]["points"] == [0, 40, 15, 50]
    line = Polyline(label="c", points=np.array([[-5.0, 5.0], [40.0, 5.0]]))
    assert write(line)[0]["shapes"][0]["points"] == [0, 5, 40, 5]


@pytest.mark.parametrize(
    "label",
    [
        Polygon(label="c", parts=(Part(SQUARE + np.array([200, 0])),)),
        Polygon(label="c", parts=(Part(np.array([[1.0, 1.0], [5.0, 5.0], [9.0, 9.0]])),)),
        Box(label="c", x=10, y=10, width=0, height=5),
        Box(label="c", x=-50, y=-50, width=20, height=20),
        Box(label="c", x=-50, y=-50, width=20, height=20, rotation=30),
        Polyline(label="c", points=np.array([[1.0, 2.0]])),
        Polyline(label="c", points=np.array([[-9.0, 2.0], [-1.0, 2.0]])),
        Keypoints(label="c", points=np.array([[-9.0, 2.0]])),
    ],
)
def test_what_shows_nothing_in_the_image_is_left_out_and_told(label):
    found, notes = write(label)
    assert found["shapes"] == []
    assert notes[0].endswith("without anything to draw in the image was left out")


def test_a_point_of_a_skeleton_beyond_the_image_is_outside():
    found, notes = write(Keypoints(label="c", points=np.array([[5.0, 5.0], [140.0, 20.0]])), GRID)
    elements = found["shapes"][0]["elements"]
    assert [(element["points"], element["outside"]) for element in elements] == [([5, 5], False), ([100, 20], True)]
    assert notes == ("1 point of skeletons lies beyond the image and was sent as outside",)
