from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.formats.coco_read import read_coco
from specrun.formats.reading import Entry, Reading
from specrun.formats.rle import bitmap_to_rle, counts_to_string
from specrun.formats.samples import label_to_json
from specrun.model.labels import Mask
from tests.support.data_sets import reading_of, write_image, write_text

IMAGE = {"id": 7, "file_name": "a.png", "width": 8, "height": 6}
CAT = {"id": 90, "name": "cat"}
DOG = {"id": 3, "name": "dog", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}


def document(*annotations: dict[str, Any], images: tuple[dict[str, Any], ...] = (IMAGE,)) -> dict[str, Any]:
    return {"images": list(images), "annotations": list(annotations), "categories": [CAT, DOG]}


def read(root: Path, data: Any, name: str = "labels.json") -> tuple[list[Entry], Reading]:
    write_image(root / "a.png", (8, 6))
    file = write_text(root / name, data if isinstance(data, str) else json.dumps(data))
    reading = reading_of(root)
    return list(read_coco(file, reading)), reading


def labels(root: Path, **annotation: Any) -> list[dict[str, Any]]:
    entries, _ = read(root, document({"id": 1, "image_id": 7, "category_id": 90, **annotation}))
    return [label_to_json(label) for label in entries[0].labels]


def test_categories_keep_their_order_whatever_their_ids(tmp_path: Path) -> None:
    _, reading = read(tmp_path, document())
    assert list(reading.classes) == ["cat", "dog"]


def test_a_box(tmp_path: Path) -> None:
    assert labels(tmp_path, bbox=[1, 2, 3, 4]) == [
        {"type": "box", "label": "cat", "box": [1.0, 2.0, 3.0, 4.0], "id": "1"}
    ]


def test_rotation_and_occlusion_among_the_attributes_are_understood(tmp_path: Path) -> None:
    (label,) = labels(tmp_path, bbox=[1, 2, 3, 4], attributes={"rotation": 30, "occluded": True, "age": 3, "ok": False})
    assert (label["rotation"], label["occluded"], label["attributes"]) == (30.0, True, {"age": 3.0, "ok": False})


def test_several_rings_are_parts_of_one_object(tmp_path: Path) -> None:
    (label,) = labels(tmp_path, segmentation=[[0, 0, 2, 0, 2, 2], [4, 4, 6, 4, 6, 6, 4, 4]], bbox=[0, 0, 6, 6])
    assert label["type"] == "polygon"
    assert label["parts"] == [[[0.0, 0.0, 2.0, 0.0, 2.0, 2.0]], [[4.0, 4.0, 6.0, 4.0, 6.0, 6.0]]]


def test_a_ring_inside_another_is_no_hole(tmp_path: Path) -> None:
    (label,) = labels(tmp_path, segmentation=[[0, 0, 6, 0, 6, 6], [2, 1, 3, 1, 3, 2]])
    assert [len(rings) for rings in label["parts"]] == [1, 1]


def test_a_ring_of_two_points_is_counted_and_the_box_stands_for_it(tmp_path: Path) -> None:
    annotation = {"id": 1, "image_id": 7, "category_id": 90, "segmentation": [[0, 0, 2, 0]], "bbox": [0, 0, 2, 1]}
    entries, reading = read(tmp_path, document(annotation))
    assert [type(label).__name__ for label in entries[0].labels] == ["Box"]
    assert reading.lost.notes() == ("1 ring has fewer than three points and was left out",)


BITMAP = np.zeros((6, 8), dtype=bool)
BITMAP[1:3, 2:5] = True


@pytest.mark.parametrize(
    "counts", [bitmap_to_rle(BITMAP), counts_to_string(bitmap_to_rle(BITMAP))], ids=["uncompressed", "compressed"]
)
def test_run_lengths_become_a_mask_cut_to_its_pixels(tmp_path: Path, counts: Any) -> None:
    annotation = {"id": 1, "image_id": 7, "category_id": 90, "iscrowd": 1}
    entries, _ = read(tmp_path, document({**annotation, "segmentation": {"size": [6, 8], "counts": counts}}))
    (label,) = entries[0].labels
    assert isinstance(label, Mask)
    assert (label.left, label.top, label.bitmap.shape, label.crowd) == (2, 1, (2, 3), True)
    assert label.bitmap.all()


def test_keypoints_have_the_names_of_their_category(tmp_path: Path) -> None:
    found = labels(tmp_path, category_id=3, keypoints=[1, 2, 2, 0, 0, 0], num_keypoints=1, bbox=[0, 0, 3, 3])
    assert found == [
        {
            "type": "keypoints",
            "label": "dog",
            "points": [1.0, 2.0, 0.0, 0.0],
            "names": ["nose", "tail"],
            "visibility": [2, 0],
            "box": [0.0, 0.0, 3.0, 3.0],
            "id": "1",
        }
    ]


def test_keypoints_and_an_outline_are_two_labels_of_one_group(tmp_path: Path) -> None:
    found = labels(tmp_path, category_id=3, keypoints=[1, 2, 2, 3, 3, 1], segmentation=[[0, 0, 2, 0, 2, 2]])
    assert [(label["type"], label["group"]) for label in found] == [("polygon", 1), ("keypoints", 1)]


def test_keypoints_that_are_all_absent_are_none(tmp_path: Path) -> None:
    found = labels(tmp_path, category_id=3, keypoints=[0] * 6, bbox=[0, 0, 1, 1])
    assert [label["type"] for label in found] == ["box"]


def test_crowds_are_kept_and_noted(tmp_path: Path) -> None:
    annotation = {"id": 1, "image_id": 7, "category_id": 90, "bbox": [0, 0, 1, 1], "iscrowd": 1}
    entries, reading = read(tmp_path, document(annotation))
    assert entries[0].labels[0].crowd
    assert reading.lost.notes() == ("1 annotation is marked as crowds and kept so (CVAT marks all masks so)",)


def test_control_characters_in_a_class_are_dropped(tmp_path: Path) -> None:
    _, reading = read(tmp_path, {"images": [], "categories": [{"id": 1, "name": "c\x1b[31mat"}]})
    assert list(reading.classes) == ["c[31mat"]


def test_a_score_is_kept(tmp_path: Path) -> None:
    assert labels(tmp_path, bbox=[1, 2, 3, 4], score=0.25)[0]["score"] == 0.25


def test_an_image_without_annotations_is_annotated(tmp_path: Path) -> None:
    entries, _ = read(tmp_path, document())
    assert entries[0].annotated
    assert entries[0].labels == ()


def test_an_image_may_lack_its_size(tmp_path: Path) -> None:
    entries, _ = read(tmp_path, document(images=({"id": 7, "file_name": "a.png"},)))
    assert entries[0].size_wh == (8, 6)


def test_file_names_may_have_folders(tmp_path: Path) -> None:
    write_image(tmp_path / "x" / "a.png")
    entries, _ = read(tmp_path, document(images=({**IMAGE, "file_name": "x/a.png"},)))
    assert entries[0].name == "x/a.png"


def write_split(root: Path, folder: str, file: str, name: str) -> None:
    write_image(root / folder / name)
    write_text(root / file, json.dumps(document(images=({**IMAGE, "file_name": name},))))


def names_and_splits(root: Path) -> list[tuple[str, str | None]]:
    return [(entry.name, entry.split) for entry in read_coco(root, reading_of(root))]


def test_the_layout_of_coco_itself(tmp_path: Path) -> None:
    write_split(tmp_path, "train2017", "annotations/instances_train2017.json", "a.png")
    write_split(tmp_path, "val2017", "annotations/instances_val2017.json", "a.png")
    assert names_and_splits(tmp_path) == [("train2017/a.png", "train"), ("val2017/a.png", "val")]


def test_the_layout_of_roboflow(tmp_path: Path) -> None:
    write_split(tmp_path, "train", "train/_annotations.coco.json", "a.png")
    write_split(tmp_path, "valid", "valid/_annotations.coco.json", "a.png")
    assert names_and_splits(tmp_path) == [("train/a.png", "train"), ("valid/a.png", "val")]


def test_the_layout_of_cvat(tmp_path: Path) -> None:
    write_split(tmp_path, "images/train", "annotations/instances_train.json", "a.png")
    write_split(tmp_path, "images/default", "annotations/instances_default.json", "a.png")
    assert names_and_splits(tmp_path) == [("images/default/a.png", None), ("images/train/a.png", "train")]


def test_captions_and_doubled_keypoints_are_left_out_and_named(tmp_path: Path) -> None:
    write_split(tmp_path, "train", "annotations/instances_train.json", "a.png")
    for name in ("captions_train.json", "person_keypoints_train.json"):
        write_text(tmp_path / "annotations" / name, "not read")
    reading = reading_of(tmp_path)
    assert len(list(read_coco(tmp_path, reading))) == 1
    assert reading.lost.notes() == tuple(
        f"1 file ({name}) was left out; name it in `path` to read it alone"
        for name in ("captions_train.json", "person_keypoints_train.json")
    )


def test_keypoints_alone_are_read(tmp_path: Path) -> None:
    write_split(tmp_path, "train", "annotations/person_keypoints_train.json", "a.png")
    assert names_and_splits(tmp_path) == [("train/a.png", "train")]


def annotation(**changes: Any) -> dict[str, Any]:
    return document({"id": 5, "image_id": 7, "category_id": 90, "bbox": [0, 0, 1, 1], **changes})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{\n!", r"labels\.json:2:1: not JSON"),
        ("[]", "not a COCO file"),
        ({"images": {}}, "not a COCO file"),
        ({"images": [3]}, "`images` must be a list of objects"),
        ({"images": [IMAGE], "annotations": {}}, "`annotations` must be a list"),
        ({"images": [{"id": 1}]}, "lacks 'file_name'"),
        ({"images": [], "categories": [{"id": 1}]}, "needs an id and a name"),
        (annotation(category_id=4), "annotation 5 has the category 4, which is not defined"),
        (annotation(image_id=8), "annotation 5 is of image 8, which is not listed"),
        (annotation(bbox=[0, 0, -1, 1]), "annotation 5 cannot be read: its bbox"),
        (annotation(bbox=[0, 0, 1]), "annotation 5 cannot be read"),
        (annotation(bbox="none"), "annotation 5 cannot be read"),
        (annotation(segmentation=[[0, 0, 1, 1, 2]]), "annotation 5 cannot be read: a ring has 5 numbers"),
        (annotation(segmentation=[["x"] * 6]), "annotation 5 cannot be read"),
        (annotation(segmentation=[[0, 0, 1, 1, 2, float("nan")]]), "not a finite number"),
        (annotation(segmentation={"size": [6, 8], "counts": [3]}), "fills 3 pixels"),
        (annotation(segmentation={"size": [9, 8], "counts": [72]}), "its mask is 8x9 pixels, its image 8x6"),
        (annotation(segmentation={"size": [6, 8], "counts": "~~"}), "annotation 5 cannot be read"),
        (annotation(segmentation={}), "annotation 5 cannot be read: .size."),
        (annotation(category_id=3, keypoints=[1, 2, 2]), "3 keypoint numbers for 2 points"),
        (annotation(category_id=3, keypoints=[1, 2, 5, 1, 2, 2]), "annotation 5 cannot be read"),
        (annotation(attributes=[1]), "annotation 5 cannot be read"),
    ],
)
def test_a_damaged_file_is_named_with_the_annotation(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(tmp_path, data)


def test_a_folder_without_coco_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no COCO file"):
        list(read_coco(tmp_path, reading_of(tmp_path)))
