from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.formats.cvat_shapes import ELLIPSE_TOLERANCE_PX, ellipse_to_ring
from specrun.formats.cvat_xml import read_cvat_xml
from specrun.formats.reading import Entry, Reading
from specrun.formats.samples import label_to_json
from specrun.model.labels import Keypoints, Mask, Polygon, Visibility
from tests.support.data_sets import reading_of, write_image, write_text

META = """
<meta><task><id>7</id><subset>{subset}</subset><labels>
  <label><name>coral</name><type>polygon</type><attributes>
    <attribute><name>dead</name><input_type>checkbox</input_type></attribute>
    <attribute><name>size</name><input_type>number</input_type></attribute>
    <attribute><name>note</name><input_type>text</input_type></attribute>
  </attributes></label>
  <label><name>body</name><type>skeleton</type><attributes></attributes></label>
  <label><name>head</name><type>points</type><attributes>
    <attribute><name>sure</name><input_type>checkbox</input_type></attribute>
  </attributes><parent>body</parent></label>
  <label><name>tail</name><type>points</type><attributes></attributes><parent>body</parent></label>
  <label><name>unused</name><type>any</type><attributes></attributes></label>
</labels></task></meta>"""


def document(images: str, subset: str = "") -> str:
    return f"<annotations><version>1.1</version>{META.format(subset=subset)}{images}</annotations>"


def image(shapes: str = "", name: str = "a.png", extra: str = "") -> str:
    return f'<image id="0" name="{name}" width="8" height="6" {extra}>{shapes}</image>'


def read(root: Path, text: str, subsets: Mapping[str, str | None] | None = None) -> tuple[list[Entry], Reading]:
    write_image(root / "a.png", (8, 6))
    reading = reading_of(root, subsets)
    return list(read_cvat_xml(write_text(root / "annotations.xml", text), reading)), reading


def shape(root: Path, text: str) -> dict[str, Any]:
    """The one label of the one image."""
    entries, _ = read(root, document(image(text)))
    (label,) = entries[0].labels
    return label_to_json(label)


def test_a_box(tmp_path: Path) -> None:
    text = (
        '<box label="coral" xtl="1.5" ytl="2" xbr="4" ybr="5" occluded="1" z_order="3" group_id="2" source="manual"/>'
    )
    assert shape(tmp_path, text) == {
        "type": "box",
        "label": "coral",
        "box": [1.5, 2.0, 2.5, 3.0],
        "occluded": True,
        "z_order": 3,
        "group": 2,
    }


def test_a_rotated_box_keeps_its_rotation(tmp_path: Path) -> None:
    text = '<box label="coral" xtl="1" ytl="2" xbr="4" ybr="5" rotation="30.5"/>'
    assert shape(tmp_path, text)["rotation"] == 30.5


def test_a_polygon(tmp_path: Path) -> None:
    assert shape(tmp_path, '<polygon label="coral" points="0,0;4.25,0;4,3"/>') == {
        "type": "polygon",
        "label": "coral",
        "parts": [[[0.0, 0.0, 4.25, 0.0, 4.0, 3.0]]],
    }


def test_a_polyline(tmp_path: Path) -> None:
    assert shape(tmp_path, '<polyline label="coral" points="0,0;4,0"/>')["points"] == [0.0, 0.0, 4.0, 0.0]


def test_points_are_keypoints_without_names(tmp_path: Path) -> None:
    found = shape(tmp_path, '<points label="coral" points="1,2;3,4"/>')
    assert found == {"type": "keypoints", "label": "coral", "points": [1.0, 2.0, 3.0, 4.0]}


def test_a_tag(tmp_path: Path) -> None:
    assert shape(tmp_path, '<tag label="coral" source="manual"/>') == {"type": "tag", "label": "coral"}


def test_a_mask_runs_along_its_rows_and_lies_where_it_says(tmp_path: Path) -> None:
    text = '<mask label="coral" rle="1, 2, 2, 1" left="2" top="1" width="3" height="2"/>'
    entries, _ = read(tmp_path, document(image(text)))
    (label,) = entries[0].labels
    assert isinstance(label, Mask)
    assert (label.left, label.top) == (2, 1)
    assert label.bitmap.tolist() == [[False, True, True], [False, False, True]]


def test_an_ellipse_becomes_a_polygon_and_is_counted(tmp_path: Path) -> None:
    text = '<ellipse label="coral" cx="4" cy="3" rx="2" ry="1" rotation="90"/>'
    entries, reading = read(tmp_path, document(image(text)))
    (label,) = entries[0].labels
    assert isinstance(label, Polygon)
    ring = label.parts[0].exterior
    assert np.allclose([*ring.min(axis=0), *ring.max(axis=0)], [3, 1, 5, 5])
    assert reading.lost.notes() == ("1 ellipse was turned into polygons, at most 0.05 pixels off",)


@pytest.mark.parametrize("radius", [0.5, 40.0, 1000.0])
def test_the_ring_of_an_ellipse_stays_within_the_tolerance(radius: float) -> None:
    ring = ellipse_to_ring((0.0, 0.0), (radius, radius), 0.0)
    middles = (ring + np.roll(ring, -1, axis=0)) / 2
    assert radius - np.hypot(*middles.T).min() <= ELLIPSE_TOLERANCE_PX + 1e-9


def test_a_rotated_ellipse_turns_clockwise_on_the_screen() -> None:
    ring = ellipse_to_ring((0.0, 0.0), (10.0, 1.0), 45.0)
    tip = ring[np.hypot(*ring.T).argmax()]
    assert math.isclose(abs(math.degrees(math.atan2(tip[1], tip[0]))) % 180, 45.0)
    assert tip[0] * tip[1] > 0


def test_a_skeleton_has_its_points_in_the_defined_order(tmp_path: Path) -> None:
    text = """<skeleton label="body">
      <points label="tail" outside="1" occluded="0" points="5,5"/>
      <points label="head" outside="0" occluded="1" points="1,2"><attribute name="sure">true</attribute></points>
    </skeleton>"""
    entries, _ = read(tmp_path, document(image(text)))
    (label,) = entries[0].labels
    assert isinstance(label, Keypoints)
    assert label.names == ("head", "tail")
    assert label.points.tolist() == [[1.0, 2.0], [5.0, 5.0]]
    assert label.visibility == (Visibility.OCCLUDED, Visibility.ABSENT)
    assert label.attributes == {"head.sure": True}


def test_a_point_that_a_skeleton_does_not_list_is_absent(tmp_path: Path) -> None:
    text = '<skeleton label="body"><points label="tail" outside="0" points="5,5"/></skeleton>'
    found = shape(tmp_path, text)
    assert found["points"] == [0.0, 0.0, 5.0, 5.0]
    assert found["visibility"] == [0, 2]


def test_attributes_have_the_type_of_their_definition(tmp_path: Path) -> None:
    text = """<polygon label="coral" points="0,0;4,0;4,3">
      <attribute name="dead">false</attribute><attribute name="size">2.50</attribute>
      <attribute name="note"> 12 </attribute><attribute name="unknown">true</attribute>
    </polygon>"""
    assert shape(tmp_path, text)["attributes"] == {"dead": False, "size": 2.5, "note": "12", "unknown": "true"}


def test_an_attribute_that_does_not_fit_its_type_stays_text(tmp_path: Path) -> None:
    text = """<polygon label="coral" points="0,0;4,0;4,3">
      <attribute name="dead">maybe</attribute><attribute name="size">big</attribute>
    </polygon>"""
    assert shape(tmp_path, text)["attributes"] == {"dead": "maybe", "size": "big"}


def test_a_shape_that_no_person_drew_says_so(tmp_path: Path) -> None:
    found = shape(tmp_path, '<tag label="coral" source="auto"/>')
    assert found["attributes"] == {"source": "auto"}


def test_cuboids_are_counted_and_left_out(tmp_path: Path) -> None:
    entries, reading = read(tmp_path, document(image('<cuboid label="coral"/><cuboid label="coral"/>')))
    assert entries[0].labels == ()
    assert reading.lost.notes() == ("2 cuboids have no counterpart here and were left out",)


def test_classes_have_the_order_of_the_definition_without_points_of_skeletons(tmp_path: Path) -> None:
    _, reading = read(tmp_path, document(image('<tag label="surprise"/>')))
    assert list(reading.classes) == ["coral", "body", "unused", "surprise"]


def test_an_image_without_shapes_is_annotated(tmp_path: Path) -> None:
    entries, _ = read(tmp_path, document(image()))
    assert entries[0].annotated
    assert entries[0].labels == ()


@pytest.mark.parametrize(
    ("subset", "split"), [("train", "train"), ("Validation", "val"), ("test", "test"), ("default", None), ("", None)]
)
def test_the_subset_of_a_task_is_the_split_of_its_images(tmp_path: Path, subset: str, split: str | None) -> None:
    entries, _ = read(tmp_path, document(image(), subset))
    assert entries[0].split == split


def test_subsets_select_and_rename(tmp_path: Path) -> None:
    write_image(tmp_path / "b.png", (8, 6))
    text = document(image(extra='subset="holdout"') + image(name="b.png", extra='subset="junk"'))
    entries, reading = read(tmp_path, text, {"holdout": "test"})
    assert [(entry.name, entry.split) for entry in entries] == [("a.png", "test")]
    assert dict(reading.seen_subsets) == {"holdout": 1, "junk": 1}


def test_equal_names_in_several_tasks_are_several_images(tmp_path: Path) -> None:
    for subset in ("train", "val"):
        write_image(tmp_path / "images" / subset / "b.png", (8, 6))
    text = document(
        image(name="b.png", extra='subset="train" task_id="1"') + image(name="b.png", extra='subset="val" task_id="2"')
    )
    entries, _ = read(tmp_path, text)
    assert [(entry.name, entry.group, entry.split) for entry in entries] == [
        ("images/train/b.png", "1", "train"),
        ("images/val/b.png", "2", "val"),
    ]


def test_equal_names_in_different_folders_are_different_images(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write_image(tmp_path / folder / "b.png", (8, 6))
    entries, _ = read(tmp_path, document(image(name="x/b.png") + image(name="y/b.png")))
    assert [entry.name for entry in entries] == ["x/b.png", "y/b.png"]


def test_an_image_that_is_not_on_disk_is_noted(tmp_path: Path) -> None:
    entries, reading = read(tmp_path, document(image() + image(name="gone.png")))
    assert [entry.name for entry in entries] == ["a.png"]
    assert reading.missing == ["gone.png"]


def test_an_image_of_another_split_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "b.png", (8, 6))
    entries, reading = read(tmp_path, document(image(name="b.png", extra='subset="val"')))
    assert entries == []
    assert reading.missing == ["val/b.png"]


def test_images_on_disk_that_are_not_listed_are_no_part_of_it(tmp_path: Path) -> None:
    write_image(tmp_path / "deleted.png")
    entries, _ = read(tmp_path, document(image()))
    assert [entry.name for entry in entries] == ["a.png"]


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a\.png: the annotations were made on 9x9 pixels, the image has 8x6"):
        read(tmp_path, document('<image name="a.png" width="9" height="9"/>'))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ('<box label="coral" xtl="1" ytl="1" xbr="2"/>', "<box> has no ybr"),
        ('<box label="coral" xtl="3" ytl="1" xbr="2" ybr="2"/>', "before the left"),
        ('<box label="coral" xtl="nan" ytl="1" xbr="2" ybr="2"/>', "xtl is nan"),
        ('<box xtl="1" ytl="1" xbr="2" ybr="2"/>', "has no label"),
        ('<polygon label="coral" points="1,1;2,2"/>', "has 2 points and needs 3"),
        ('<polygon label="coral" points="1,1;2,2,3;4"/>', "not pairs"),
        ('<polygon label="coral" points="1,1;2,x;3,3"/>', "could not convert"),
        ('<polygon label="coral" points=""/>', "could not convert"),
        ('<polygon label="coral" points="1,1;inf,2;3,3"/>', "not a finite number"),
        ('<mask label="coral" rle="1,2" left="0" top="0" width="2" height="2"/>', "fills 3 pixels"),
        ('<mask label="coral" rle="" left="0" top="0" width="2" height="2"/>', "cannot be read"),
        ('<ellipse label="coral" cx="1" cy="1" rx="0" ry="1"/>', "radius"),
        ('<skeleton label="unknown"/>', "has no points"),
        ('<tag label="coral" z_order="top"/>', "invalid literal"),
        ('<tag label="coral"><attribute>3</attribute></tag>', "has no name"),
    ],
)
def test_a_damaged_shape_is_named_with_its_line(tmp_path: Path, shapes: str, message: str) -> None:
    text = f"<annotations>\n<version>1.1</version>\n{image(chr(10) + shapes)}</annotations>"
    with pytest.raises(FormatError, match=rf"annotations\.xml:4: .*{message}"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"annotations\.xml:1:1: not well-formed XML \(no element found\)"),
        ("<annotations>\n<image", r"annotations\.xml:2:\d+: not well-formed"),
        ("<annotations/>", "holds no annotations"),
        ("<annotations><version>1.0</version></annotations>", "version 1.0, only 1.1"),
        ('<annotations><image name="a.png" height="6"/></annotations>', "<image> has no width"),
        ('<annotations><image name="a.png" width="x" height="6"/></annotations>', "no whole number"),
        ("<annotations>" + "<a>" * 200, "deep"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE a [<!ENTITY x "y">]>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>',
    ],
)
def test_a_doctype_is_refused(tmp_path: Path, head: str) -> None:
    with pytest.raises(FormatError, match=r"annotations\.xml:2: a DOCTYPE"):
        read(tmp_path, f'<?xml version="1.0"?>\n{head}<annotations/>')
