from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from specrun.clients.fiftyone.docs_to_labels import docs_to_labels, resize_bitmap, rings_to_parts
from specrun.clients.fiftyone.label_fields import attribute_key, attribute_name, choose_fields
from specrun.clients.fiftyone.labels_to_docs import labels_to_docs
from specrun.formats.samples import label_to_json
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Part, Polygon, Polyline, Tag, Visibility

SIZE = (64, 32)
SQUARE = np.array([[0.0, 0], [16, 0], [16, 16], [0, 16]])
HOLE = np.array([[4.0, 4], [8, 4], [8, 8], [4, 8]])
BITMAP = np.array([[True, False, True], [False, True, True]])


def to_docs(labels: Sequence[AnyLabel]) -> dict[str, list[dict[str, Any]]]:
    counter = itertools.count()
    return labels_to_docs(labels, SIZE, lambda: next(counter))


def there_and_back(label: AnyLabel) -> AnyLabel:
    [(_, docs)] = to_docs([label]).items()
    [read] = docs_to_labels(docs, SIZE)
    return read


@pytest.mark.parametrize(
    "label",
    [
        Tag(label="murky", score=0.25),
        Tag(label="murky", score=0.5, others=(("clear", 0.25), ("night", 0.125))),
        Box(label="a", x=1, y=2, width=8, height=4),
        Box(label="a", x=8, y=4, width=16, height=8, rotation=90),
        Mask(label="a", bitmap=BITMAP, left=5, top=7),
        Polygon(label="a", parts=(Part(SQUARE),), group=0, z_order=-2, occluded=True, crowd=True, id="7"),
        Polygon(label="a", parts=(Part(SQUARE, (HOLE,)), Part(SQUARE + 16)), source_label="b"),
        Polyline(label="a", points=np.array([[0.0, 0], [4, 8], [16, 4]])),
        Keypoints(label="a", points=np.array([[1.0, 2], [4, 8]]), score=0.5),
        Keypoints(
            label="a",
            points=np.array([[1.0, 2], [0, 0], [4, 8]]),
            names=("TL", "TR", "BR"),
            visibility=(Visibility.VISIBLE, Visibility.ABSENT, Visibility.OCCLUDED),
            box=(0.0, 0.0, 8.0, 8.0),
        ),
        Box(label="", x=0, y=0, width=1, height=1, attributes={"alive": True, "depth": 2.5, "note": "é\n"}),
    ],
    ids=lambda label: type(label).__name__,
)
def test_a_label_comes_back_as_it_was(label: AnyLabel) -> None:
    """Sizes are powers of two, so that relative coordinates are exact."""
    assert label_to_json(there_and_back(label)) == label_to_json(label)


def test_a_turned_box_keeps_its_angle() -> None:
    box = there_and_back(Box(label="a", x=10, y=5, width=20, height=10, rotation=30))
    assert isinstance(box, Box)
    assert (box.x, box.y, box.width, box.height, box.rotation) == pytest.approx((10, 5, 20, 10, 30))


def test_a_turned_box_pulled_out_of_shape_is_a_polygon() -> None:
    [doc] = to_docs([Box(label="a", x=10, y=5, width=20, height=10, rotation=30)])["polylines"]
    doc["points"][0][0][0] += 0.1
    [label] = docs_to_labels([doc], SIZE)
    assert isinstance(label, Polygon)


def test_fiftyone_sees_relative_coordinates_and_its_own_classes() -> None:
    docs = to_docs([Box(label="a", x=16, y=8, width=32, height=16), Polygon(label="b", parts=(Part(SQUARE),))])
    assert docs["detections"][0]["bounding_box"] == [0.25, 0.25, 0.5, 0.5]
    polyline = docs["polylines"][0]
    assert (polyline["_cls"], polyline["closed"], polyline["filled"]) == ("Polyline", True, True)
    assert polyline["points"] == [[[0, 0], [0.25, 0], [0.25, 0.5], [0, 0.5]]]


def test_parts_of_two_objects_do_not_mix() -> None:
    labels = [Polygon(label=name, parts=(Part(SQUARE), Part(SQUARE + 16))) for name in "ab"]
    read = docs_to_labels(to_docs(labels)["polylines"], SIZE)
    assert [(label.label, len(label.parts)) for label in read if isinstance(label, Polygon)] == [("a", 2), ("b", 2)]


def test_marks_of_an_evaluation_are_no_attributes() -> None:
    [doc] = to_docs([Box(label="a", x=0, y=0, width=1, height=1, attributes={"alive": True})])["detections"]
    doc |= {"ev": "tp", "ev_id": "x", "ev_iou": 0.5}
    [label] = docs_to_labels([doc], SIZE, frozenset({"ev", "ev_id", "ev_iou"}))
    assert label.attributes == {"alive": True}


def test_fiftyones_older_attributes_are_read() -> None:
    doc = {"_cls": "Detection", "label": "a", "bounding_box": [0, 0, 1, 1], "attributes": {"n": {"value": 3}}}
    assert docs_to_labels([doc], SIZE)[0].attributes == {"n": 3}


@pytest.mark.parametrize(
    "name", ["label", "odd.name", "$set", "", "attr_x", "a~b%", "Health State", "_id", "größe", "\0"]
)
def test_any_attribute_name_comes_back(name: str) -> None:
    key = attribute_key(name)
    assert attribute_name(key) == name
    assert not set(".$\0") & set(key)
    assert key not in ("label", "_id", "")


def test_a_stretched_mask_is_resized_to_its_box() -> None:
    [doc] = to_docs([Mask(label="a", bitmap=BITMAP, left=0, top=0)])["detections"]
    doc["bounding_box"] = [0, 0, 6 / 64, 4 / 32]
    [label] = docs_to_labels([doc], SIZE)
    assert isinstance(label, Mask)
    assert np.array_equal(label.bitmap, np.kron(BITMAP, np.ones((2, 2), bool)))
    assert resize_bitmap(BITMAP, (3, 2)) is BITMAP


def test_rings_apart_are_parts_and_rings_inside_are_holes() -> None:
    island = HOLE * 0.2 + 5
    parts = rings_to_parts([SQUARE, SQUARE + 20, HOLE, island])
    assert [(len(part.holes), part.exterior[0].tolist()) for part in parts] == [
        (1, [0, 0]),
        (0, [20, 20]),
        (0, island[0].tolist()),
    ]


def test_points_that_fiftyone_lacks_are_absent() -> None:
    doc = {"_cls": "Keypoint", "label": "a", "points": [[0.5, 0.5], [math.nan, math.nan]]}
    [label] = docs_to_labels([doc], SIZE)
    assert isinstance(label, Keypoints)
    assert label.visibility == (Visibility.VISIBLE, Visibility.ABSENT)
    assert label.points.tolist() == [[32, 16], [0, 0]]


def test_the_field_takes_the_type_of_most_labels() -> None:
    fields = choose_fields("truth", {"detections": 2, "polylines": 5}, {})
    assert fields == {"polylines": "truth", "detections": "truth_detections"}


def test_a_type_once_chosen_stays() -> None:
    fields = choose_fields("truth", {"detections": 9, "polylines": 5}, {"polylines": "truth"})
    assert fields == {"polylines": "truth", "detections": "truth_detections"}


def test_a_field_without_labels_is_of_detections() -> None:
    assert choose_fields("truth", {}, {}) == {"detections": "truth"}
