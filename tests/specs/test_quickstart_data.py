"""The quickstart's data is what its script makes, and what its README says."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
import skimage
from PIL import Image

FOLDER = Path(__file__).parent.parent.parent / "specs" / "quickstart"
SUBSETS = {"train": 64, "val": 16}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("make_data", FOLDER / "make_data.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["make_data"] = module  # its dataclasses look their module up by name
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images() -> list[ElementTree.Element]:
    return list(ElementTree.parse(FOLDER / "data" / "annotations.xml").getroot().iter("image"))


def test_the_script_makes_the_committed_data_again(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "HERE", tmp_path)
    script.main()
    made, kept = tmp_path / "data", FOLDER / "data"
    assert (made / "annotations.xml").read_text() == (kept / "annotations.xml").read_text()
    names = sorted(path.relative_to(made) for path in made.rglob("*.png"))
    assert names == sorted(path.relative_to(kept) for path in kept.rglob("*.png"))
    for name in names:
        assert np.array_equal(np.asarray(Image.open(made / name)), np.asarray(Image.open(kept / name))), name


def test_every_listed_image_is_there_and_has_the_listed_size(images: list[ElementTree.Element]) -> None:
    for image in images:
        path = FOLDER / "data" / "images" / image.attrib["subset"] / image.attrib["name"]
        assert Image.open(path).size == (int(image.attrib["width"]), int(image.attrib["height"]))


def test_the_subsets_have_as_many_tiles_as_the_readme_says(images: list[ElementTree.Element]) -> None:
    assert {subset: sum(i.get("subset") == subset for i in images) for subset in SUBSETS} == SUBSETS


def test_outlines_lie_inside_their_tile(images: list[ElementTree.Element]) -> None:
    for polygon in (polygon for image in images for polygon in image.iter("polygon")):
        points = np.array([point.split(",") for point in polygon.attrib["points"].split(";")], float)
        assert len(points) >= 3
        assert points.min() >= 0
        assert points.max() <= 128


def test_training_and_held_out_tiles_share_no_pixel(script: ModuleType) -> None:
    rows = {subset: {y for _, y in script.corners(subset, 384)} for subset in SUBSETS}
    assert max(rows["val"]) + script.TILE <= min(rows["train"])


def test_the_photograph_is_the_one_that_the_readme_names() -> None:
    photograph = Path(skimage.__file__).parent / "data" / "coins.png"
    digest = hashlib.sha256(photograph.read_bytes()).hexdigest()
    assert digest in (FOLDER / "README.md").read_text(encoding="utf-8")
