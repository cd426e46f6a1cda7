from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.formats.reading import Entry, Reading
from specrun.formats.samples import label_to_json
from specrun.formats.yolo_lines import YoloTask
from specrun.formats.yolo_read import read_yolo
from tests.support.data_sets import labels_of, reading_of, write_image, write_text

DATA = "names: [cat, dog]\ntrain: images/train\n"


def read(root: Path, lines: str | None, data: str = DATA, task: YoloTask | None = None) -> tuple[list[Entry], Reading]:
    """One image of 100 x 50 pixels."""
    write_image(root / "images/train/a.png", (100, 50))
    write_text(root / "data.yaml", data)
    if lines is not None:
        write_text(root / "labels/train/a.txt", lines)
    reading = reading_of(root)
    return list(read_yolo(root, reading, task)), reading


def one(root: Path, line: str, data: str = DATA, task: YoloTask | None = None) -> dict[str, Any]:
    entries, _ = read(root, line, data, task)
    (label,) = entries[0].labels
    return label_to_json(label)


def test_a_box(tmp_path: Path) -> None:
    assert one(tmp_path, "1 0.5 0.5 0.2 0.4\n") == {"type": "box", "label": "dog", "box": [40.0, 15.0, 20.0, 20.0]}


def test_an_outline(tmp_path: Path) -> None:
    assert one(tmp_path, "0 0 0 0.5 0 0.5 1\n")["parts"] == [[[0.0, 0.0, 50.0, 0.0, 50.0, 50.0]]]


def test_a_repeated_first_point_is_dropped(tmp_path: Path) -> None:
    assert one(tmp_path, "0 0 0 0.5 0 0.5 1 0 0\n")["parts"] == [[[0.0, 0.0, 50.0, 0.0, 50.0, 50.0]]]


POSE = DATA + "kpt_shape: [2, 3]\nkpt_names: {0: [nose, tail]}\n"


def test_keypoints_with_visibility(tmp_path: Path) -> None:
    assert one(tmp_path, "0 0.5 0.5 0.2 0.4 0.1 0.2 2 0 0 0\n", POSE) == {
        "type": "keypoints",
        "label": "cat",
        "points": [10.0, 10.0, 0.0, 0.0],
        "names": ["nose", "tail"],
        "visibility": [2, 0],
        "box": [40.0, 15.0, 20.0, 20.0],
    }


def test_keypoints_of_two_values_are_absent_when_negative(tmp_path: Path) -> None:
    found = one(tmp_path, "0 0.5 0.5 0.2 0.4 0.1 0.2 -1 -1\n", DATA + "kpt_shape: [2, 2]\n")
    assert found["visibility"] == [2, 0]
    assert found["names"] == ["0", "1"]


def test_an_oriented_box(tmp_path: Path) -> None:
    # A square of side 20·√2 turned by 45 degrees about (50, 25).
    found = one(tmp_path, "0 0.5 0.1 0.7 0.5 0.5 0.9 0.3 0.5", task="obb")
    assert np.allclose(found["box"], [50 - 10 * math.sqrt(2) * 1, 25 - 10 * math.sqrt(2), 20 * 2**0.5, 20 * 2**0.5])
    assert math.isclose(found["rotation"], 45)


def test_corners_that_are_no_rectangle_become_a_polygon_and_are_counted(tmp_path: Path) -> None:
    entries, reading = read(tmp_path, "0 0 0 1 0 0.5 1 0 1", task="obb")
    assert [type(label).__name__ for label in entries[0].labels] == ["Polygon"]
    assert reading.lost.notes() == ("1 box is no rectangle and was turned into polygons",)


def test_an_image_without_a_label_file_was_not_annotated(tmp_path: Path) -> None:
    entries, _ = read(tmp_path, None)
    assert not entries[0].annotated


def test_an_empty_label_file_means_that_nothing_is_there(tmp_path: Path) -> None:
    entries, _ = read(tmp_path, "\n")
    assert entries[0].annotated
    assert entries[0].labels == ()


def test_exif_orientation_is_applied_before_shares_become_pixels(tmp_path: Path) -> None:
    write_image(tmp_path / "images/train/a.jpg", (100, 50), orientation=6)
    write_text(tmp_path / "labels/train/a.txt", "0 0.5 0.5 1 1")
    write_text(tmp_path / "data.yaml", DATA)
    (entry,) = read_yolo(tmp_path, reading_of(tmp_path))
    assert label_to_json(entry.labels[0])["box"] == [0.0, 0.0, 50.0, 100.0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.2 0.4", r"class 2 is not one of the 2 classes \(0 to 1\)"),
        ("-1 0.5 0.5 0.2 0.4", "class -1"),
        ("0.5 0.5 0.5 0.2 0.4", "not a whole number"),
        ("cat 0.5 0.5 0.2 0.4", "could not convert"),
        ("0 0.5 0.5 0.2", "3 coordinates where 4 are needed"),
        ("0 0.5 0.5 0.2 0.4 0.9", "5 coordinates where 4 are needed"),
        ("0", "0 coordinates"),
        ("0 0 0 0.5 0 0.5 1 0.7", "7 coordinates are no outline"),
        ("0 0.5 0.5 0.2 x", "could not convert"),
        ("0 0.5 0.5 nan 0.2", "not a finite number"),
        ("0 50 25 20 20", "the coordinate 50 is not a share"),
        ("0 0.5 0.5 -0.001 0.2", "negative"),
    ],
)
def test_a_malformed_line_is_named_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(FormatError, match=rf"a\.txt:2: .*{message}"):
        read(tmp_path, f"0 0.5 0.5 0.2 0.4\n{line}\n")


@pytest.mark.parametrize(
    ("task", "line"),
    [("segment", "0 0.5 0.5 0.2 0.4"), ("detect", "0 0 0 0.5 0 0.5 1"), ("obb", "0 0.5 0.5 0.2 0.4")],
)
def test_a_line_of_another_task_is_refused(tmp_path: Path, task: YoloTask, line: str) -> None:
    with pytest.raises(FormatError, match=r"a\.txt:1: "):
        read(tmp_path, line, task=task)


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.2 0.4 0.1 0.2", "0 0.5 0.5 0.2 0.4 0.1 0.2 3 0 0 0"])
def test_a_malformed_pose_line_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(FormatError, match=r"a\.txt:1: "):
        read(tmp_path, line, POSE)


def test_pose_needs_a_keypoint_shape(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"data\.yaml: has no `kpt_shape`"):
        read(tmp_path, "", task="pose")


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "{1: dog, 0: cat}"])
def test_names_are_a_list_or_a_mapping(tmp_path: Path, names: str) -> None:
    _, reading = read(tmp_path, None, f"names: {names}\ntrain: images/train\n")
    assert list(reading.classes) == ["cat", "dog"]


def splits(root: Path) -> list[tuple[str, str | None]]:
    return [(entry.name, entry.split) for entry in read_yolo(root, reading_of(root))]


def test_splits_are_folders_lists_of_folders_and_text_files(tmp_path: Path) -> None:
    for name in ("images/x/a.png", "images/y/b.png", "images/z/c.png", "images/w/d.png"):
        write_image(tmp_path / name)
    write_text(tmp_path / "list.txt", "./images/w/d.png\n\n")
    data = "names: [cat]\npath: .\ntrain: [images/x, images/y]\nval: images/z\ntest: list.txt\n"
    write_text(tmp_path / "data.yaml", data)
    assert splits(tmp_path) == [
        ("images/x/a.png", "train"),
        ("images/y/b.png", "train"),
        ("images/z/c.png", "val"),
        ("images/w/d.png", "test"),
    ]


def test_an_image_of_two_splits_belongs_to_the_first(tmp_path: Path) -> None:
    for name in ("images/a.png", "images/b.png"):
        write_image(tmp_path / name)
    write_text(tmp_path / "list.txt", "images/a.png\n")
    data = "names: [cat]\ntrain: images\nval: images\ntest: list.txt\n"
    write_text(tmp_path / "data.yaml", data)
    reading = reading_of(tmp_path)
    found = [(entry.name, entry.split) for entry in read_yolo(tmp_path, reading)]
    assert found == [("images/a.png", "train"), ("images/b.png", "train")]
    assert reading.lost.notes() == (
        "1 image is in train and test; train counts",
        "2 images are in train and val; train counts",
    )


def test_a_split_that_is_not_read_takes_no_image_from_another(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_text(tmp_path / "data.yaml", "names: [cat]\ntrain: images\nval: images\n")
    reading = reading_of(tmp_path, {"val": "val"})
    assert [entry.split for entry in read_yolo(tmp_path, reading)] == ["val"]


def test_the_layout_of_roboflow(tmp_path: Path) -> None:
    write_image(tmp_path / "train/images/a.png")
    write_image(tmp_path / "valid/images/b.png")
    write_text(tmp_path / "data.yaml", "names: [cat]\ntrain: ../train/images\nval: ../valid/images\n")
    assert splits(tmp_path) == [("train/images/a.png", "train"), ("valid/images/b.png", "val")]


def test_a_path_of_another_machine_means_the_folder_of_the_file(tmp_path: Path) -> None:
    write_image(tmp_path / "images/train/a.png")
    write_text(tmp_path / "data.yaml", "path: /home/somebody/data\n" + DATA)
    assert splits(tmp_path) == [("images/train/a.png", "train")]


def test_the_list_of_cvat_starts_with_a_folder_that_is_not_there(tmp_path: Path) -> None:
    write_image(tmp_path / "images/train/a.png")
    write_text(tmp_path / "train.txt", "data/images/train/a.png\n")
    write_text(tmp_path / "data.yaml", "names: {0: cat}\npath: .\ntrain: train.txt\n")
    assert splits(tmp_path) == [("images/train/a.png", "train")]


def test_darknets_files_are_understood(tmp_path: Path) -> None:
    write_image(tmp_path / "obj_train_data/a.png", (100, 50))
    write_text(tmp_path / "obj_train_data/a.txt", "1 0.5 0.5 1 1\n")
    write_text(tmp_path / "obj.names", "cat\ndog\n")
    write_text(tmp_path / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    write_text(tmp_path / "train.txt", "data/obj_train_data/a.png\n")
    found = labels_of(read_yolo(tmp_path, reading_of(tmp_path)))
    assert found == {"obj_train_data/a.png": [{"type": "box", "label": "dog", "box": [0.0, 0.0, 100.0, 50.0]}]}


def test_labels_may_lie_apart_from_the_images(tmp_path: Path) -> None:
    write_image(tmp_path / "photos/train/a.png", (100, 50))
    write_text(tmp_path / "export/labels/train/a.txt", "0 0.5 0.5 1 1\n")
    write_text(tmp_path / "export/train.txt", "data/images/train/a.png\n")
    data = write_text(tmp_path / "export/data.yaml", "names: {0: cat}\npath: .\ntrain: train.txt\n")
    (entry,) = read_yolo(data, reading_of(tmp_path / "photos"))
    assert len(entry.labels) == 1


def test_an_image_of_a_list_that_is_not_there_is_noted(tmp_path: Path) -> None:
    write_text(tmp_path / "train.txt", "images/gone.png\n")
    write_text(tmp_path / "data.yaml", "names: {0: cat}\ntrain: train.txt\n")
    reading = reading_of(tmp_path)
    assert list(read_yolo(tmp_path, reading)) == []
    assert reading.missing == ["images/gone.png"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("names: [a\n", r"data\.yaml:\d+:\d+: not YAML"),
        ("- a\n", "has no `names`"),
        ("train: x\n", "has no `names`"),
        ("names: 3\ntrain: x\n", "must be a list"),
        ("names: {a: cat}\ntrain: x\n", "whole numbers"),
        ("names: [a]\ntrain: 3\n", "`train` must be a path"),
        ("names: [a]\n", "names no images"),
        ("names: [a]\ntrain: images/gone\n", "`train` is images/gone, and no images lie there"),
        ("names: [a]\ntrain: images/train\nkpt_shape: 17\n", "`kpt_shape` must be"),
        ("names: !!python/object/apply:os.system [ls]\n", "not YAML"),
    ],
)
def test_a_damaged_data_file_is_named(tmp_path: Path, data: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(tmp_path, None, data)


def test_a_folder_without_a_data_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"holds no data\.yaml"):
        list(read_yolo(tmp_path, reading_of(tmp_path)))


def test_a_label_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "images/train/a.png")
    write_text(tmp_path / "data.yaml", DATA)
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(FormatError, match=r"a\.txt: not text"):
        list(read_yolo(tmp_path, reading_of(tmp_path)))
