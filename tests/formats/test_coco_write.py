from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from specrun.errors import FormatError
from specrun.formats.coco_write import CocoWriter, keypoint_names, mask_in_image
from specrun.formats.geometry import rasterize
from specrun.formats.tally import Tally
from specrun.model.labels import Box, Keypoints, Mask, Part, Polygon, Polyline, Sample, Tag, Visibility

SQUARE = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], dtype=np.float64)
HOLE = np.array([[15, 15], [25, 15], [25, 25], [15, 25]], dtype=np.float64)
SIZE_WH = (100, 50)


def sample(*labels, key="a"):
    return Sample(key=key, media=Path("/a.jpg"), name="a.jpg", digest="d", size_wh=SIZE_WH, labels=labels)


def write(*labels, masks="rle", points=None, edges=()):
    tally = Tally()
    writer = CocoWriter(["a", "b"], masks, tally, points or {}, edges)
    return writer.annotations(sample(*labels), 7), tally.notes()


def decoded(row):
    segmentation = row["segmentation"]
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, SIZE_WH[1], SIZE_WH[0]))
    return coco_mask.decode(segmentation).astype(bool)


def test_a_polygon_keeps_its_rings_and_analytic_area():
    (row,), notes = write(Polygon(label="b", parts=(Part(SQUARE), Part(SQUARE + np.array([40, 10])))))
    assert row["segmentation"] == [[10, 10, 30, 10, 30, 30, 10, 30], [50, 20, 70, 20, 70, 40, 50, 40]]
    assert (row["category_id"], row["image_id"], row["iscrowd"]) == (2, 7, 0)
    assert (row["bbox"], row["area"]) == ([10, 10, 60, 30], 800)
    assert decoded(row).sum() == 800
    assert notes == ()


def test_a_hole_makes_it_a_mask_with_the_same_pixels():
    part = Part(SQUARE, (HOLE,))
    (row,), notes = write(Polygon(label="a", parts=(part,)))
    assert (decoded(row) == rasterize([part], SIZE_WH)).all()
    assert row["area"] == 300 == coco_mask.area(row["segmentation"])
    assert row["bbox"] == coco_mask.toBbox(row["segmentation"]).tolist()
    assert notes == ("1 polygon with holes is written pixel by pixel",)


def test_overlapping_parts_are_a_mask_so_that_the_area_counts_once():
    (row,), _ = write(Polygon(label="a", parts=(Part(SQUARE), Part(SQUARE + 5))))
    assert row["area"] == decoded(row).sum() == 400 + 400 - 225


@given(arrays(np.bool_, (6, 8)))
def test_masks_survive_bit_by_bit(bitmap):
    mask = Mask(label="a", bitmap=bitmap, left=3, top=2)
    rows, _ = write(mask)
    if not bitmap.any():
        assert rows == []
        return
    assert (decoded(rows[0]) == mask_in_image(mask, SIZE_WH)).all()
    assert rows[0]["area"] == bitmap.sum()
    assert rows[0]["bbox"] == coco_mask.toBbox(rows[0]["segmentation"]).tolist()


@given(arrays(np.bool_, (6, 8)))
def test_masks_as_polygons_cover_the_same_pixels(bitmap):
    mask = Mask(label="a", bitmap=bitmap, left=3, top=2)
    rows, _ = write(mask, masks="polygons")
    for row in rows:
        assert (decoded(row) == mask_in_image(mask, SIZE_WH)).all()
        assert row["area"] == bitmap.sum()


def test_a_crowd_is_always_run_lengths():
    (row,), _ = write(Polygon(label="a", parts=(Part(SQUARE),), crowd=True))
    assert row["iscrowd"] == 1
    assert row["segmentation"]["size"] == [50, 100]


def test_a_box_keeps_its_numbers():
    (row,), notes = write(Box(label="a", x=0.1, y=0.2, width=0.7, height=30.3))
    assert row["bbox"] == [0.1, 0.2, 0.7, 30.3]
    assert row["segmentation"] == []
    assert notes == ()


def test_a_turned_box_is_its_corners_and_remembers_its_rotation():
    (row,), notes = write(Box(label="a", x=40, y=20, width=20, height=10, rotation=90))
    assert np.allclose(row["bbox"], [45, 15, 10, 20])
    assert row["attributes"] == {"rotation": 90}
    assert notes == ("1 turned box is written as its four corners",)


def test_keypoints_and_outline_of_one_group_are_one_annotation():
    visibility = (Visibility.VISIBLE, Visibility.ABSENT)
    points = Keypoints(
        label="a", points=np.array([[12, 13], [0, 0.0]]), names=("r", "l"), visibility=visibility, group=1
    )
    rows, _ = write(
        Polygon(label="a", parts=(Part(SQUARE),), group=1), points, points={"a": ("l", "r")}, edges=[("l", "r")]
    )
    assert len(rows) == 1
    assert (rows[0]["keypoints"], rows[0]["num_keypoints"]) == ([0, 0, 0, 12, 13, 2], 1)
    assert rows[0]["area"] == 400


def test_categories_know_their_keypoints_and_edges():
    writer = CocoWriter(["a", "b"], "rle", Tally(), {"a": ("l", "r")}, [("l", "r"), ("l", "x")])
    assert writer.categories() == [
        {"id": 1, "name": "a", "supercategory": "", "keypoints": ["l", "r"], "skeleton": [[1, 2]]},
        {"id": 2, "name": "b", "supercategory": ""},
    ]


def test_names_of_keypoints_come_from_the_labels_or_are_numbers():
    named = Keypoints(label="a", points=SQUARE[:2], names=("l", "r"))
    bare = Keypoints(label="b", points=SQUARE[:3])
    assert keypoint_names([sample(named, bare)], {"c": ["x"]}) == {"a": ("l", "r"), "b": ("1", "2", "3")}


def test_attributes_order_group_and_score_are_kept():
    box = Box(
        label="a", x=0, y=0, width=2, height=2, attributes={"n": 1.5}, occluded=True, z_order=2, group=3, score=0.5
    )
    (row,), _ = write(box)
    assert row["attributes"] == {"n": 1.5, "occluded": True}
    assert (row["z_order"], row["group_id"], row["score"]) == (2, 3, 0.5)


def test_what_coco_has_no_place_for_is_counted():
    rows, notes = write(
        Polyline(label="a", points=SQUARE), Tag(label="a"), Box(label="a", x=500, y=0, width=2, height=2)
    )
    assert rows == []
    assert notes == (
        "1 box without area in the image is left out",
        "1 polyline is not part of COCO",
        "1 tag is not part of COCO",
    )


def test_ids_do_not_depend_on_other_images():
    def ids(*keys):
        writer = CocoWriter(["a"], "rle", Tally())
        return {key: writer.image(sample(key=key), "x.jpg")["id"] for key in keys}

    assert ids("a", "b", "c")["c"] == ids("c")["c"]
    assert 0 not in ids(*map(str, range(100))).values()


def test_a_class_that_is_not_known_is_an_error_that_names_the_image():
    with pytest.raises(FormatError, match=r'^a\.jpg: the label "c"'):
        write(Box(label="c", x=0, y=0, width=2, height=2))
