"""What is found on a turned, mirrored or scaled image lies where it is in the image itself."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from specrun.model.labels import Box, Keypoints, Mask, Visibility
from specrun.training.predictor import PointLayout
from specrun.training.tta import View, original_labels, seen_pixels, views, with_views

_VIEWS = [View(quarters=q, mirrored=m) for q in range(4) for m in (False, True)]
_SIZE_WH = (11, 7)


def _image() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (_SIZE_WH[1], _SIZE_WH[0], 3), dtype=np.uint8)


def _bright(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.moveaxis(images.astype(np.float32) / 255, -1, 1)


@pytest.mark.parametrize("names", [("flip",), ("flip_vertical",), ("rotate",), ("flip", "flip_vertical", "rotate")])
def test_the_mean_of_views_is_the_answer_itself_for_single_pixels(names: tuple[str, ...]) -> None:
    images = np.stack([_image(), _image()[::-1]])
    assert with_views(_bright, names)(images) == pytest.approx(_bright(images), abs=1e-6)


def test_scaled_views_come_back_in_the_size_of_the_image() -> None:
    flat = np.full((1, 20, 30, 3), 100, dtype=np.uint8)
    found = with_views(_bright, ("scale",))(flat)
    assert found.shape == (1, 3, 20, 30)
    assert found == pytest.approx(np.full(found.shape, 100 / 255), abs=1e-6)


def test_the_vertical_mirror_is_top_to_bottom() -> None:
    (_, view) = views(["flip_vertical"])
    assert seen_pixels(view, _image()).tolist() == _image()[::-1].tolist()


@pytest.mark.parametrize("view", _VIEWS)
def test_a_mask_found_on_a_view_is_the_one_of_the_image(view: View) -> None:
    bitmap = np.zeros((_SIZE_WH[1], _SIZE_WH[0]), dtype=bool)
    bitmap[1:4, 2:9] = True
    bitmap[1, 3] = False
    seen = seen_pixels(view, np.repeat(bitmap[:, :, None], 3, axis=2).astype(np.uint8))[:, :, 0] > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    window = seen[top : rows[-1] + 1, left : columns[-1] + 1]
    (back,) = original_labels(view, [Mask(label="a", bitmap=window, left=left, top=top)], _SIZE_WH)
    assert isinstance(back, Mask)
    whole = np.zeros_like(bitmap)
    whole[back.top : back.top + back.bitmap.shape[0], back.left : back.left + back.bitmap.shape[1]] = back.bitmap
    assert whole.tolist() == bitmap.tolist()
    box = Box(label="a", x=left, y=top, width=window.shape[1], height=window.shape[0])
    (box_back,) = original_labels(view, [box], _SIZE_WH)
    assert isinstance(box_back, Box)
    assert (box_back.x, box_back.y, box_back.width, box_back.height) == (2, 1, 7, 3)


@pytest.mark.parametrize("view", _VIEWS)
def test_points_and_rotated_boxes_lie_on_the_same_pixel(view: View) -> None:
    bright = np.zeros((_SIZE_WH[1], _SIZE_WH[0], 3), dtype=np.uint8)
    bright[2, 8] = 255
    row, column = np.argwhere(seen_pixels(view, bright)[:, :, 0])[0]
    point = Keypoints(label="a", points=np.array([[column + 0.5, row + 0.5]]), visibility=(Visibility.VISIBLE,))
    turned = Box(label="a", x=column + 0.5 - 2, y=row + 0.5 - 1, width=4, height=2, rotation=30)
    found, box = original_labels(view, [point, turned], _SIZE_WH)
    assert isinstance(found, Keypoints)
    assert isinstance(box, Box)
    assert found.points.tolist() == [[8.5, 2.5]]
    assert (box.x + box.width / 2, box.y + box.height / 2) == pytest.approx((8.5, 2.5))


def test_left_and_right_points_change_places_in_a_mirror() -> None:
    layout = PointLayout(("nose", "left", "right"), (("left", "right"),))
    pose = Keypoints(label="a", points=np.array([[5.0, 1.0], [2.0, 3.0], [9.0, 3.0]]))
    (back,) = original_labels(View(mirrored=True), [pose], _SIZE_WH, lambda _: layout.mirrored())
    assert isinstance(back, Keypoints)
    assert back.points.tolist() == [[6.0, 1.0], [2.0, 3.0], [9.0, 3.0]]


def test_a_scaled_box_comes_back_to_its_place() -> None:
    box = Box(label="a", x=8, y=16, width=8, height=8)
    (back,) = original_labels(View(scale=0.8), [box], (100, 50))
    assert isinstance(back, Box)
    assert (back.x, back.y, back.width, back.height) == pytest.approx((10, 20, 10, 10))


def test_the_plain_view_is_always_there_and_none_is_nothing_more() -> None:
    assert views([]) == views(["none"]) == (View(),)
    assert len(views(["flip", "rotate", "scale"])) == 7
