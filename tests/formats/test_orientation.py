from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from specrun.formats.orientation import TURNED, labels_to_upright
from specrun.formats.raster import rasterize
from specrun.formats.samples import label_to_json
from specrun.model.labels import Bitmap, Box, Keypoints, Mask, Part, Polygon, Polyline, Tag

STORED = (7, 4)


def upright(bitmap: Bitmap, orientation: int) -> Bitmap:
    """What Pillow makes of the same pixels."""
    image = Image.fromarray(bitmap.astype(np.uint8))
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image)).astype(bool)


def drawn(x: float, y: float, width: float, height: float, size_wh: tuple[int, int]) -> Bitmap:
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    return rasterize((Part(corners),), size_wh)


@pytest.mark.parametrize("orientation", TURNED)
def test_a_box_covers_the_same_pixels(orientation: int) -> None:
    box = labels_to_upright(Box(label="a", x=1, y=0, width=3, height=2), orientation, STORED)
    assert isinstance(box, Box)
    expected = upright(drawn(1, 0, 3, 2, STORED), orientation)
    assert np.array_equal(drawn(box.x, box.y, box.width, box.height, (4, 7)), expected)


@pytest.mark.parametrize("orientation", TURNED)
def test_a_polygon_with_a_hole_covers_the_same_pixels(orientation: int) -> None:
    ring = np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 4.0], [0.0, 4.0]])
    hole = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 2.0], [1.0, 2.0]])
    parts = (Part(ring, (hole,)),)
    polygon = labels_to_upright(Polygon(label="a", parts=parts), orientation, STORED)
    assert isinstance(polygon, Polygon)
    assert np.array_equal(rasterize(polygon.parts, (4, 7)), upright(rasterize(parts, STORED), orientation))


@pytest.mark.parametrize("orientation", TURNED)
def test_a_mask_covers_the_same_pixels(orientation: int) -> None:
    bitmap = np.array([[True, False, True], [False, False, True]])
    mask = labels_to_upright(Mask(label="a", bitmap=bitmap, left=2, top=1), orientation, STORED)
    assert isinstance(mask, Mask)
    stored, turned = np.zeros((4, 7), dtype=bool), np.zeros((7, 4), dtype=bool)
    stored[1:3, 2:5] = bitmap
    height, width = mask.bitmap.shape
    turned[mask.top : mask.top + height, mask.left : mask.left + width] = mask.bitmap
    assert np.array_equal(turned, upright(stored, orientation))


@pytest.mark.parametrize("orientation", TURNED)
def test_a_rotated_box_has_the_corners_of_the_turned_outline(orientation: int) -> None:
    box = Box(label="a", x=1, y=1, width=3, height=1, rotation=30)
    turned = labels_to_upright(box, orientation, STORED)
    outline = labels_to_upright(Polyline(label="a", points=corners(box)), orientation, STORED)
    assert isinstance(turned, Box)
    assert isinstance(outline, Polyline)
    expected = {tuple(point) for point in outline.points.round(9).tolist()}
    assert {tuple(point) for point in corners(turned).round(9).tolist()} == expected


def corners(box: Box) -> np.ndarray:
    turn = np.radians(box.rotation)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [box.width / 2, box.height / 2]
    return half @ matrix + [box.x + box.width / 2, box.y + box.height / 2]


def test_keypoints_turn_with_their_box() -> None:
    label = Keypoints(label="a", points=np.array([[1.0, 0.0]]), box=(1, 0, 3, 2))
    turned = label_to_json(labels_to_upright(label, 6, STORED))
    assert (turned["points"], turned["box"]) == ([4.0, 1.0], [2.0, 1.0, 2.0, 3.0])


def test_a_tag_stays_as_it_is() -> None:
    tag = Tag(label="a")
    assert labels_to_upright(tag, 6, STORED) is tag
