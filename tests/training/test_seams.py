"""Objects of tiles, put together: each object of the image once and whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from specrun.model.labels import AnyLabel, Box, Keypoints, Mask
from specrun.training.nms import hull
from specrun.training.seams import merged
from specrun.training.tiles import Tiling, Window, windows

_SIZE_WH = (100, 80)


def _scene() -> np.ndarray:
    """A bar through most of the image, a square on a crossing of tiles, and two small ones close together."""
    scene = np.zeros((_SIZE_WH[1], _SIZE_WH[0]), dtype=bool)
    scene[5:11, 4:96] = True
    scene[34:48, 42:58] = True
    scene[60:64, 30:34] = True
    scene[60:64, 36:40] = True
    return scene


def _seen(scene: np.ndarray, window: Window, *, boxes: bool) -> list[AnyLabel]:
    """What a faultless model finds in a tile."""
    cut = scene[window.top : window.top + window.height, window.left : window.left + window.width]
    numbered, _ = ndimage.label(cut)
    found: list[AnyLabel] = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
        left, top = columns.start, rows.start
        size = {"width": columns.stop - left, "height": rows.stop - top}
        if boxes:
            found.append(Box(label="a", score=0.9, x=left, y=top, **size))
        else:
            found.append(Mask(label="a", score=0.9, bitmap=numbered[rows, columns] == number, left=left, top=top))
    return found


def _tiles(tiling: Tiling, *, boxes: bool) -> list[tuple[Window, Sequence[AnyLabel]]]:
    return [(window, _seen(_scene(), window, boxes=boxes)) for window in windows(_SIZE_WH, tiling)]


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("size", [(32, 32), (40, 28), (64, 64)])
def test_masks_cut_by_tiles_become_the_masks_of_the_image(overlap: float, size: tuple[int, int]) -> None:
    whole = Window(0, 0, *_SIZE_WH)
    expected = {(m.left, m.top, m.bitmap.shape) for m in _seen(_scene(), whole, boxes=False) if isinstance(m, Mask)}
    found = merged(_tiles(Tiling(size, overlap), boxes=False), _SIZE_WH)
    assert {(m.left, m.top, m.bitmap.shape) for m in found if isinstance(m, Mask)} == expected
    assert len(found) == 4
    assert sum(int(m.bitmap.sum()) for m in found if isinstance(m, Mask)) == int(_scene().sum())


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_boxes_cut_by_tiles_become_the_boxes_of_the_image(overlap: float) -> None:
    found = merged(_tiles(Tiling((32, 32), overlap), boxes=True), _SIZE_WH)
    places = sorted((b.x, b.y, b.width, b.height) for b in found if isinstance(b, Box))
    assert places == [(4, 5, 92, 6), (30, 60, 4, 4), (36, 60, 4, 4), (42, 34, 16, 14)]


def _rectangles(random: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """Apart by at least four pixels, each smaller or larger than a tile."""
    scene = np.zeros((size_wh[1], size_wh[0]), dtype=bool)
    for _ in range(12):
        width, height = (int(value) for value in random.integers(4, 60, 2))
        left, top = int(random.integers(0, size_wh[0] - width)), int(random.integers(0, size_wh[1] - height))
        near = scene[max(top - 4, 0) : top + height + 4, max(left - 4, 0) : left + width + 4]
        if not near.any():
            scene[top : top + height, left : left + width] = True
    return scene


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("overlap", [0.25, 0.5])
@pytest.mark.parametrize("seed", range(25))
def test_a_faultless_model_finds_just_the_objects_of_the_image(seed: int, overlap: float, boxes: bool) -> None:
    random = np.random.default_rng(seed)
    size_wh = int(random.integers(90, 190)), int(random.integers(90, 190))
    tile = int(random.integers(31, 77)), int(random.integers(31, 77))
    scene = _rectangles(random, size_wh)
    seen = [
        (window, [replace(label, score=float(random.uniform(0.3, 1))) for label in _seen(scene, window, boxes=boxes)])
        for window in windows(size_wh, Tiling(tile, overlap))
    ]
    expected = sorted(hull(label) for label in _seen(scene, Window(0, 0, *size_wh), boxes=boxes))
    assert sorted(hull(label) for label in merged(seen, size_wh)) == expected


def test_strips_of_one_object_in_two_rows_of_tiles_are_no_object() -> None:
    scene = np.zeros((192, 192), dtype=bool)
    scene[70:120, 110:160] = True
    tiles = [(window, _seen(scene, window, boxes=True)) for window in windows((192, 192), Tiling((128, 128), 0.5))]
    (found,) = merged(tiles, (192, 192))
    assert hull(found) == (110, 70, 160, 120)


def test_objects_of_two_classes_are_never_joined() -> None:
    left = Box(label="a", score=0.9, x=5, y=5, width=5, height=5)
    right = Box(label="b", score=0.9, x=0, y=5, width=5, height=5)
    found = merged([(Window(0, 0, 10, 20), [left]), (Window(10, 0, 10, 20), [right])], (20, 20))
    assert len(found) == 2


def test_a_part_within_a_whole_pose_is_dropped() -> None:
    def pose(x: float, width: float, score: float) -> Keypoints:
        return Keypoints(label="a", score=score, points=np.array([[x + 1, 5.0]]), box=(x, 2.0, width, 8.0))

    tiles = [(Window(0, 0, 20, 20), [pose(14, 6, 0.95)]), (Window(10, 0, 20, 20), [pose(4, 10, 0.6)])]
    (found,) = merged(tiles, (30, 20))
    assert isinstance(found, Keypoints)
    assert found.box == (14.0, 2.0, 10.0, 8.0)
    assert found.points.tolist() == [[15.0, 5.0]]
