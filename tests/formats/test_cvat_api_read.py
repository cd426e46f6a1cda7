from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.errors import FormatError
from specrun.formats.cvat_api_read import LabelBook, read_annotations
from specrun.formats.cvat_xml import read_cvat_xml
from specrun.formats.reading import MediaFolder, Reading
from specrun.formats.samples import label_to_json
from specrun.formats.tally import Tally
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Polygon, Tag, Visibility

RECORDED = Path(__file__).parent / "data" / "cvat_api"
"""One task of a real server (2.73): what its API answered, and its own export "CVAT for images 1.1"."""
SIZES = ((320, 240), (320, 240), (240, 320), (300, 200), (320, 240))
LABELS: list[dict[str, Any]] = [
    {
        "id": 1,
        "name": "car",
        "attributes": [
            {"id": 10, "name": "speed", "input_type": "number"},
            {"id": 11, "name": "parked", "input_type": "checkbox"},
        ],
        "sublabels": [],
    },
    {
        "id": 2,
        "name": "skel",
        "attributes": [],
        "sublabels": [
            {"id": 3, "name": "head", "attributes": []},
            {"id": 4, "name": "tail", "attributes": []},
        ],
    },
]


def read(frames: Sequence[int] = (0,), lost: Tally | None = None, **data: Any) -> dict[int, tuple[AnyLabel, ...]]:
    tally = Tally() if lost is None else lost
    return read_annotations(data, LabelBook.of(LABELS), frames, where="task 7", lost=tally)


def shape(type: str, *points: float, **more: Any) -> dict[str, Any]:
    return {"id": 5, "type": type, "frame": 0, "label_id": 1, "points": list(points), "attributes": [], **more}


def comparable(label: AnyLabel) -> str:
    """Without the id, which the XML does not tell, and to the digits that it writes."""
    data = json.loads(json.dumps(label_to_json(label)), parse_float=lambda text: round(float(text), 2))
    data.pop("id", None)
    return json.dumps(data, sort_keys=True)


def test_the_api_and_the_servers_own_export_give_the_same_labels(tmp_path: Path) -> None:
    for number, size in enumerate(SIZES):
        Image.new("RGB", size).save(tmp_path / f"img_{number:03d}.jpg")
    reading = Reading(media=MediaFolder.scan(tmp_path))
    exported = [entry.labels for entry in read_cvat_xml(RECORDED / "annotations.xml", reading)]
    recorded = json.loads((RECORDED / "task.json").read_text())
    book = LabelBook.of(recorded["labels"])
    asked = read_annotations(recorded["annotations"], book, range(5), where="task 1", lost=Tally())
    assert book.classes == list(reading.classes)
    assert sum(map(len, exported)) == 11
    for frame, labels in enumerate(exported):
        assert sorted(map(comparable, asked[frame])) == sorted(map(comparable, labels))


def test_a_box_keeps_rotation_order_group_and_attributes() -> None:
    drawn = shape("rectangle", 30, 40, 10, 20, rotation=30.0, z_order=2, group=4, occluded=True)
    drawn["attributes"] = [{"spec_id": 10, "value": "12.5"}, {"spec_id": 11, "value": "true"}]
    (label,) = read(shapes=[drawn])[0]
    assert isinstance(label, Box)
    assert (label.x, label.y, label.width, label.height, label.rotation) == (10, 20, 20, 20, 30)
    assert (label.z_order, label.group, label.occluded, label.id) == (2, 4, True, "5")
    assert label.attributes == {"speed": 12.5, "parked": True}


def test_a_mask_lies_at_its_own_corner() -> None:
    (label,) = read(shapes=[shape("mask", 1, 2, 3, 10, 20, 12, 21)])[0]
    assert isinstance(label, Mask)
    assert (label.left, label.top) == (10, 20)
    assert label.bitmap.tolist() == [[False, True, True], [False, False, False]]


def test_an_ellipse_becomes_a_polygon_and_is_counted() -> None:
    lost = Tally()
    (label,) = read(lost=lost, shapes=[shape("ellipse", 50, 50, 70, 40)])[0]
    assert isinstance(label, Polygon)
    ring = label.parts[0].exterior
    assert np.allclose([*ring.min(axis=0), *ring.max(axis=0)], [30, 40, 70, 60])
    assert lost.notes() == ("1 ellipse was turned into polygons, at most 0.05 pixels off",)


def test_a_cuboid_is_counted_and_left_out() -> None:
    lost = Tally()
    assert read(lost=lost, shapes=[shape("cuboid", *range(16))])[0] == ()
    assert lost.notes() == ("1 cuboid has no counterpart here and was left out",)


def test_a_skeleton_has_its_definitions_order_and_visibility() -> None:
    tail = {"label_id": 4, "points": [5, 6], "occluded": True, "outside": False, "attributes": []}
    (label,) = read(shapes=[shape("skeleton", label_id=2, elements=[tail])])[0]
    assert isinstance(label, Keypoints)
    assert label.names == ("head", "tail")
    assert label.visibility == (Visibility.ABSENT, Visibility.OCCLUDED)
    assert label.points.tolist() == [[0, 0], [5, 6]]


def test_a_track_is_in_each_frame_between_its_keyframes_until_it_is_outside() -> None:
    first = shape("rectangle", 0, 0, 10, 10, outside=False, rotation=0)
    last = {**first, "frame": 2, "points": [4, 4, 14, 14], "outside": True}
    track = {"id": 9, "label_id": 1, "frame": 0, "group": 0, "attributes": [], "shapes": [first, last]}
    found = read(frames=range(4), tracks=[track])
    assert [len(found[frame]) for frame in range(4)] == [1, 1, 0, 0]
    (moved,) = found[1]
    assert isinstance(moved, Box)
    assert (moved.x, moved.y, moved.id) == (2, 2, "track-9")


def test_a_skeleton_track_moves_point_by_point_and_ends_when_all_points_are_outside() -> None:
    def path(label_id: int, *places: tuple[int, float, float, bool]) -> dict[str, Any]:
        shapes = [
            {"type": "points", "frame": frame, "points": [x, y], "outside": outside, "attributes": []}
            for frame, x, y, outside in places
        ]
        return {"label_id": label_id, "frame": 0, "attributes": [], "shapes": shapes}

    track = {
        "id": 3,
        "label_id": 2,
        "frame": 0,
        "attributes": [],
        "shapes": [{"type": "skeleton", "frame": 0, "points": [], "outside": False, "attributes": []}],
        "elements": [path(3, (0, 0, 0, False), (2, 4, 4, True)), path(4, (0, 9, 9, False), (3, 9, 9, True))],
    }
    found = read(frames=range(4), tracks=[track])
    assert [len(found[frame]) for frame in range(4)] == [1, 1, 1, 0]
    (middle,), (late,) = found[1], found[2]
    assert isinstance(middle, Keypoints)
    assert middle.points.tolist() == [[2, 2], [9, 9]]
    assert isinstance(late, Keypoints)
    assert late.visibility == (Visibility.ABSENT, Visibility.VISIBLE)


def test_shapes_of_other_frames_are_left_alone() -> None:
    assert read(frames=(1,), shapes=[shape("rectangle", 0, 0, 1, 1)]) == {1: ()}


def test_a_tag_comes_first_and_says_who_drew_it() -> None:
    tag = {"id": 8, "label_id": 1, "frame": 0, "attributes": [], "source": "auto"}
    labels = read(tags=[tag], shapes=[shape("rectangle", 0, 0, 1, 1)])[0]
    assert isinstance(labels[0], Tag)
    assert labels[0].attributes == {"source": "auto"}


def test_a_damaged_mask_names_task_frame_and_shape() -> None:
    with pytest.raises(FormatError, match=r"task 7: frame 0: mask 5 \(car\) cannot be read"):
        read(shapes=[shape("mask", 1, 2, 10, 20, 12, 21)])


def test_a_label_that_is_gone_is_counted() -> None:
    lost = Tally()
    assert read(lost=lost, shapes=[shape("rectangle", 0, 0, 1, 1, label_id=99)])[0] == ()
    assert lost.notes() == ("1 shape has a label that the task does not define and was left out",)
