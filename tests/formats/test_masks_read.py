from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specrun.errors import FormatError
from specrun.formats.masks_read import read_masks
from specrun.formats.reading import Entry, Reading
from specrun.model.labels import Mask
from tests.support.data_sets import reading_of, write_image, write_text

CLASSES = ("sky", "road", "car")
PIXELS = [[0, 0, 1], [0, 2, 1]]


def write_mask(path: Path, values: list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype=np.uint8)).save(path)


def read(root: Path, ignore_index: int | None = None) -> tuple[list[Entry], Reading]:
    reading = reading_of(root)
    return list(read_masks(root, reading, CLASSES, ignore_index)), reading


def test_each_class_of_an_image_is_one_mask_cut_to_its_pixels(tmp_path: Path) -> None:
    write_image(tmp_path / "train/images/a.jpg", (3, 2))
    write_mask(tmp_path / "train/masks/a.png", PIXELS)
    entries, reading = read(tmp_path)
    assert [(entry.name, entry.split) for entry in entries] == [("train/images/a.jpg", "train")]
    found = [label for label in entries[0].labels if isinstance(label, Mask)]
    assert [(m.label, m.left, m.top, m.bitmap.tolist()) for m in found] == [
        ("sky", 0, 0, [[True, True], [True, False]]),
        ("road", 2, 0, [[True], [True]]),
        ("car", 1, 1, [[True]]),
    ]
    assert list(reading.classes) == list(CLASSES)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.png", "masks/a.png"),
        ("images/val/a.jpg", "masks/val/a.png"),
        ("img_dir/train/x/a.jpg", "ann_dir/train/x/a.png"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png"),
        ("images/a.tif", "labels/a.tif"),
    ],
)
def test_layouts_that_are_understood(tmp_path: Path, image: str, mask: str) -> None:
    write_image(tmp_path / image, (3, 2))
    write_mask(tmp_path / mask, PIXELS)
    entries, _ = read(tmp_path)
    assert [(entry.name, len(entry.labels)) for entry in entries] == [(image, 3)]


def test_ignored_pixels_carry_no_label_and_are_counted(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", (3, 2))
    write_mask(tmp_path / "masks/a.png", [[255, 0, 0], [255, 0, 0]])
    entries, reading = read(tmp_path, ignore_index=255)
    assert [label.label for label in entries[0].labels] == ["sky"]
    assert reading.lost.notes() == ("1 image has pixels of the value 255 (ignore_index), which carry no label",)


def test_a_value_that_is_no_class_is_named_with_its_place(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", (3, 2))
    write_mask(tmp_path / "masks/a.png", [[0, 0, 0], [0, 7, 0]])
    with pytest.raises(FormatError, match=r"masks/a\.png: the value 7 at x=1, y=1 is no class; there are 3 \(0 to 2\)"):
        read(tmp_path, ignore_index=255)


LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:0,0,142::\n"
COLORS = [[(0, 0, 0), (128, 64, 128), (128, 64, 128)], [(0, 0, 142), (0, 0, 0), (128, 64, 128)]]


def read_colors(root: Path, colors: list[list[tuple[int, int, int]]], labelmap: str) -> tuple[list[Entry], Reading]:
    write_image(root / "JPEGImages/a.jpg", (3, 2))
    (root / "SegmentationClass").mkdir()
    Image.fromarray(np.array(colors, dtype=np.uint8)).save(root / "SegmentationClass/a.png")
    write_text(root / "labelmap.txt", labelmap)
    reading = reading_of(root)
    return list(read_masks(root, reading, (), None)), reading


def test_colours_are_read_by_the_labelmap(tmp_path: Path) -> None:
    (entry,), reading = read_colors(tmp_path, COLORS, LABELMAP)
    found = {m.label: (m.left, m.top, m.bitmap.tolist()) for m in entry.labels if isinstance(m, Mask)}
    assert found == {"car": (0, 1, [[True]]), "road": (1, 0, [[True, True], [False, True]])}
    assert list(reading.classes) == ["road", "car"]


def test_a_colour_that_is_no_class_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a\.png: the colour 0,0,142 at x=0, y=1 is no class of labelmap\.txt"):
        read_colors(tmp_path, COLORS, LABELMAP.replace("car:0,0,142", "car:0,0,143"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat", "txt:5: has no colour"),
        ("cat:1,2::", "txt:5: has no colour"),
        ("cat:1,2,256::", "txt:5: has no colour"),
        ("car:1,2,3::", 'txt:5: the class "car" stands there twice'),
        ("cat:0,0,142::", 'txt:5: the colour of "car" stands there twice'),
    ],
)
def test_a_damaged_labelmap_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_colors(tmp_path, COLORS, LABELMAP + line)


def test_masks_without_classes_or_labelmap_say_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"or add a labelmap\.txt"):
        list(read_masks(tmp_path, reading_of(tmp_path), (), None))


def test_an_image_without_a_mask_was_not_annotated(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", (3, 2))
    entries, _ = read(tmp_path)
    assert not entries[0].annotated


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", (4, 2))
    write_mask(tmp_path / "masks/a.png", PIXELS)
    with pytest.raises(FormatError, match="made on 3x2 pixels, the image has 4x2"):
        read(tmp_path)


def test_a_mask_of_the_image_as_stored_is_turned_with_it(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", (3, 2), orientation=6)
    write_mask(tmp_path / "masks/a.png", PIXELS)
    entries, _ = read(tmp_path)
    whole = np.full((3, 2), -1)
    for label in entries[0].labels:
        assert isinstance(label, Mask)
        height, width = label.bitmap.shape
        window = whole[label.top : label.top + height, label.left : label.left + width]
        window[label.bitmap] = CLASSES.index(label.label)
    assert whole.tolist() == np.rot90(np.array(PIXELS), -1).tolist()


def test_a_folder_without_the_layout_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg")
    with pytest.raises(FormatError, match="holds no images in a folder called images"):
        read(tmp_path)


def test_a_broken_mask_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.jpg", (3, 2))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/a.png").write_bytes(b"no image")
    with pytest.raises(FormatError, match=r"masks/a\.png: not a readable image"):
        read(tmp_path)
