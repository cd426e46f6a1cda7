from __future__ import annotations

from pathlib import Path

import pytest

from specrun.errors import FormatError
from specrun.formats.folders import read_folders
from specrun.formats.reading import Reading
from tests.support.data_sets import reading_of, write_image


def read(root: Path, *names: str) -> tuple[list[tuple[str, str | None, str]], Reading]:
    for name in names:
        write_image(root / name)
    reading = reading_of(root)
    return [(e.name, e.split, e.labels[0].label) for e in read_folders(root, reading)], reading


def test_the_folder_is_the_class(tmp_path: Path) -> None:
    found, reading = read(tmp_path, "dog/b.png", "cat/a.png")
    assert found == [("cat/a.png", None, "cat"), ("dog/b.png", None, "dog")]
    assert list(reading.classes) == ["cat", "dog"]


def test_split_folders_come_first(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "train/cat/a.png", "valid/cat/a.png")
    assert found == [("train/cat/a.png", "train", "cat"), ("valid/cat/a.png", "val", "cat")]


def test_deeper_folders_only_sort(tmp_path: Path) -> None:
    assert read(tmp_path, "train/cat/2020/a.png")[0] == [("train/cat/2020/a.png", "train", "cat")]


@pytest.mark.parametrize("name", ["a.png", "train/a.png"])
def test_an_image_in_no_class_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=rf"{name}: the image lies in no class folder"):
        read(tmp_path, name)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no images"):
        read(tmp_path)
