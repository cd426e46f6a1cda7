from __future__ import annotations

from pathlib import Path

import pytest

from specrun.errors import FormatError
from specrun.formats.reading import Entry, Reading
from specrun.formats.samples import label_to_json
from specrun.formats.voc_read import read_voc
from tests.support.data_sets import reading_of, write_image, write_text

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax><ymax>5</ymax></bndbox>"


def document(objects: str = "", name: str = "a.png", size: str = "<width>8</width><height>6</height>") -> str:
    return f"<annotation><filename>{name}</filename><size>{size}<depth>3</depth></size>{objects}</annotation>"


def read(root: Path, text: str) -> tuple[list[Entry], Reading]:
    write_image(root / "JPEGImages/a.png", (8, 6))
    write_text(root / "Annotations/a.xml", text)
    reading = reading_of(root)
    return list(read_voc(root, reading)), reading


def test_a_box_with_its_flags(tmp_path: Path) -> None:
    flags = "<truncated>1</truncated><difficult>0</difficult><occluded>1</occluded>"
    entries, _ = read(tmp_path, document(f"<object><name>cat</name>{flags}{BOX}</object>"))
    assert [label_to_json(label) for label in entries[0].labels] == [
        {
            "type": "box",
            "label": "cat",
            "box": [1.0, 2.0, 3.0, 3.0],
            "occluded": True,
            "attributes": {"truncated": True},
        }
    ]


def test_cvats_attributes_are_kept_and_its_rotation_is_understood(tmp_path: Path) -> None:
    pairs = [("rotation", "30.0"), ("age", "old")]
    extra = "".join(f"<attribute><name>{name}</name><value>{value}</value></attribute>" for name, value in pairs)
    text = f"<object><name>cat</name>{BOX}<attributes>{extra}</attributes></object>"
    entries, _ = read(tmp_path, document(text))
    found = label_to_json(entries[0].labels[0])
    assert (found["rotation"], found["attributes"]) == (30.0, {"age": "old"})


def test_parts_of_objects_are_counted(tmp_path: Path) -> None:
    part = f"<part><name>head</name>{BOX}</part>"
    _, reading = read(tmp_path, document(f"<object><name>cat</name>{BOX}{part}</object>"))
    assert reading.lost.notes() == ("1 object has parts, which were left out",)


def test_splits_come_from_image_sets(tmp_path: Path) -> None:
    write_text(tmp_path / "ImageSets/Main/val.txt", "a\n")
    entries, _ = read(tmp_path, document())
    assert entries[0].split == "val"


def test_splits_come_from_folders_otherwise(tmp_path: Path) -> None:
    write_image(tmp_path / "valid/a.png", (8, 6))
    write_text(tmp_path / "valid/a.xml", document())
    (entry,) = read_voc(tmp_path, reading_of(tmp_path))
    assert (entry.name, entry.split) == ("valid/a.png", "val")


def test_classes_are_sorted(tmp_path: Path) -> None:
    _, reading = read(tmp_path, document(f"<object><name>b</name>{BOX}</object><object><name>a</name>{BOX}</object>"))
    assert list(reading.classes) == ["a", "b"]


def test_a_labelmap_fixes_the_order_of_classes(tmp_path: Path) -> None:
    write_text(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nz:1,2,3::\na:4,5,6::\n")
    _, reading = read(tmp_path, document())
    assert list(reading.classes) == ["z", "a"]


def test_a_size_of_zero_is_not_known(tmp_path: Path) -> None:
    entries, _ = read(tmp_path, document(size="<width>0</width><height>0</height>"))
    assert entries[0].size_wh == (8, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation", r"a\.xml:1:\d+: not well-formed"),
        ("<annotations/>", "the root element is <annotations>"),
        ("<annotation>\n</annotation>", r"a\.xml:1: <annotation> has no filename"),
        (document("\n<object><name>cat</name></object>"), r"a\.xml:2: <object> has no bndbox"),
        (document(f"\n<object>{BOX}</object>"), r"a\.xml:2: <object> has no name"),
        (document(f"\n<object><name>a</name>{BOX.replace('4', 'x')}</object>"), r'a\.xml:2: <xmax> is "x"'),
        (document(f"\n<object><name>a</name>{BOX.replace('4', '0')}</object>"), r"a\.xml:2: the box ends before"),
        (document(size="<width>big</width>"), '<width> is "big"'),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation/>', "a DOCTYPE"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(tmp_path, text)


def test_a_folder_without_annotations_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no VOC annotations"):
        list(read_voc(tmp_path, reading_of(tmp_path)))
