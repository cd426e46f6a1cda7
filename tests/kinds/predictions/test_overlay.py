from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.kinds.predictions.overlay import overlay
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Part, Polygon, Tag
from specrun.training import lettering

CYAN, BLACK = (6, 182, 212), (17, 24, 39)
CLASSES = ["coin", "Corail mou"]


def gray(width: int, height: int) -> Any:
    return np.full((height, width, 3), 90, np.uint8)


def drawn(labels: list[AnyLabel], size: tuple[int, int] = (128, 128)) -> Image.Image:
    return overlay(gray(*size), labels, CLASSES)


def count(picture: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == color).all(axis=2).sum())


def disc(**rest: Any) -> Mask:
    return Mask(label="coin", bitmap=np.ones((40, 40), bool), left=30, top=30, score=0.93, **rest)


@pytest.mark.parametrize(
    ("size", "shown"), [((128, 96), (512, 384)), ((300, 200), (600, 400)), ((640, 480), (640, 480)), ((8, 6), (32, 24))]
)
def test_small_images_are_enlarged_so_that_names_can_be_read(size: tuple[int, int], shown: tuple[int, int]) -> None:
    assert drawn([disc()], size).size == shown


def test_a_name_stands_on_a_plate_in_ink_that_differs_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn([disc()])
    monkeypatch.setattr(lettering.Plates, "put", lambda *args: None)
    nameless = drawn([disc()])
    assert count(whole, CYAN) > count(nameless, CYAN) + 1000
    assert count(whole, BLACK) > count(nameless, BLACK) + 50


@pytest.mark.parametrize(
    "label",
    [
        disc(),
        Box(label="coin", x=120, y=0, width=30, height=30, score=0.5),
        Box(label="coin", x=-20, y=110, width=30, height=30, rotation=30),
        Polygon(label="coin", parts=(Part(np.array([[100.0, 100.0], [130.0, 100.0], [110.0, 130.0]])),)),
        Tag(label="coin", score=0.9),
    ],
)
def test_names_of_all_shapes_lie_inside_the_image(label: AnyLabel) -> None:
    letters = (np.asarray(drawn([label])) == BLACK).all(axis=2)
    assert letters.sum() > 50
    rows, columns = np.nonzero(letters)
    assert columns.min() > 0
    assert columns.max() < 511
    assert 0 <= rows.min() <= rows.max() < 511


def test_several_tags_stand_below_each_other() -> None:
    one, two = drawn([Tag(label="coin")]), drawn([Tag(label="coin"), Tag(label="Corail mou")])
    rows_one, rows_two = (np.flatnonzero((np.asarray(p) == BLACK).all(axis=2).any(axis=1)) for p in (one, two))
    assert rows_two.max() > rows_one.max() + 10


def test_points_are_dots_without_a_name() -> None:
    picture = drawn([Keypoints(label="coin", points=np.array([[64.0, 64.0]]), visibility=())])
    assert count(picture, CYAN) > 10
    assert count(picture, BLACK) == 0
