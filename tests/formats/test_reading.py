from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.formats.reading import MediaFolder, split_folder
from tests.support.data_sets import reading_of, write_image


def folder(*names: str) -> MediaFolder:
    return MediaFolder(Path("/media"), names)


def test_the_exact_path_comes_first() -> None:
    assert folder("a.png", "x/a.png").find("a.png") == "a.png"


def test_a_likely_folder_comes_before_it() -> None:
    assert folder("a.png", "x/a.png").find("a.png", "x") == "x/a.png"


def test_the_only_image_that_ends_like_the_name_is_taken() -> None:
    assert folder("x/y/a.png", "x/b.png").find("y/a.png") == "x/y/a.png"


def test_leading_folders_that_are_not_there_are_left_off() -> None:
    assert folder("y/a.png").find("share/2020/y/a.png") == "y/a.png"


def test_an_end_of_a_name_is_no_name() -> None:
    assert folder("xa.png").find("a.png") is None


def test_several_fitting_images_are_an_error_that_names_them() -> None:
    with pytest.raises(FormatError, match=r'"a\.png" could be any of 2 images \(x/a\.png, y/a\.png\)'):
        folder("x/a.png", "y/a.png").find("a.png")


def test_a_likely_folder_decides_between_several() -> None:
    assert folder("p/x/a.png", "p/y/a.png").find("a.png", "y") == "p/y/a.png"


def test_composed_and_decomposed_names_are_the_same() -> None:
    on_disk = unicodedata.normalize("NFD", "récif.png")
    assert folder(on_disk).find("récif.png") == on_disk


def test_windows_separators_are_understood() -> None:
    assert folder("x/a.png").find("x\\a.png") == "x/a.png"


@pytest.mark.parametrize(
    ("path", "split"), [("train/a.png", "train"), ("x/Valid/a.png", "Valid"), ("train.png", ""), ("x/a.png", "")]
)
def test_the_split_is_a_folder_on_the_way(path: str, split: str) -> None:
    assert split_folder(path) == split


def test_one_image_for_two_entries_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    reading = reading_of(tmp_path)
    reading.entry_of("a.png", ())
    with pytest.raises(FormatError, match=r"a\.png: two entries"):
        reading.entry_of("a.png", ())


def test_the_key_name_is_composed_and_the_path_stays_as_on_disk(tmp_path: Path) -> None:
    on_disk = unicodedata.normalize("NFD", "récif.png")
    write_image(tmp_path / on_disk)
    entry = reading_of(tmp_path).entry_of(on_disk, ())
    assert (entry.name, entry.media.name) == ("récif.png", on_disk)


def test_scanning_finds_images_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "x/b.png")
    (tmp_path / "a.txt").write_text("")
    assert MediaFolder.scan(tmp_path).names == ("x/b.png",)
    assert np.array_equal(reading_of(tmp_path).size_of(tmp_path / "x/b.png"), (8, 6))
