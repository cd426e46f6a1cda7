import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specrun.errors import FormatError
from specrun.formats.masks_write import class_indices, draw_label_map, encode_png, palette
from specrun.formats.tally import Tally
from specrun.model.labels import Box, Mask, Part, Polygon, Sample

SQUARE = np.array([[0, 0], [6, 0], [6, 6], [0, 6]], dtype=np.float64)
INNER = np.array([[2, 2], [4, 2], [4, 4], [2, 4]], dtype=np.float64)


def draw(*labels, classes=("a", "b"), background=0, tally=None):
    held = Sample(key="a", media=Path("/a.jpg"), name="a.jpg", digest="d", size_wh=(8, 8), labels=labels)
    return draw_label_map(held, class_indices(classes, background, 255), tally or Tally())


def square(label, ring=SQUARE, holes=(), **values):
    return Polygon(label=label, parts=(Part(ring, holes),), **values)


def test_background_is_zero_and_classes_follow():
    drawn = draw(square("b"))
    assert (drawn[0, 0], drawn[7, 7]) == (2, 0)


def test_without_background_the_rest_is_ignored():
    drawn = draw(square("b"), background=None)
    assert (drawn[0, 0], drawn[7, 7]) == (1, 255)


def test_the_smaller_shape_stays_visible():
    inner = square("b", INNER)
    assert (draw(inner, square("a")) == draw(square("a"), inner)).all()
    assert draw(inner, square("a"))[3, 3] == 2


def test_the_nearer_shape_stays_visible_whatever_its_size():
    assert draw(square("b", INNER), square("a", z_order=1))[3, 3] == 1


def test_a_hole_shows_what_lies_beneath():
    assert draw(square("a", holes=(INNER,)))[3, 3] == 0


def test_a_mask_is_drawn_at_its_place_and_cut_at_the_border():
    drawn = draw(Mask(label="a", bitmap=np.ones((4, 4), dtype=bool), left=-2, top=6))
    assert drawn.sum() == 4
    assert drawn[6:, :2].all()


def test_boxes_are_counted_and_not_drawn():
    tally = Tally()
    assert not draw(Box(label="a", x=0, y=0, width=4, height=4), tally=tally).any()
    assert tally.notes() == ("1 box is not part of label maps",)


def test_a_class_named_background_is_the_background():
    indices = class_indices(["a", "Background", "b"], 0, 255)
    assert indices.names == ("background", "a", "b")
    assert dict(indices.values) == {"Background": 0, "a": 1, "b": 2}


@pytest.mark.parametrize(
    ("count", "background", "ignore_index", "problem"),
    [(256, 0, 255, "no room"), (3, 0, 2, "no room"), (2, 5, 255, "gap")],
)
def test_values_that_collide_are_refused(count, background, ignore_index, problem):
    with pytest.raises(FormatError, match=problem):
        class_indices([f"c{i}" for i in range(count)], background, ignore_index)


def test_the_palette_has_the_declared_colours():
    colors = palette(["background", "a", "b"], {"a": "#e6194b", "b": "#fff"}, 255)
    assert colors[:3] == [(0, 0, 0), (230, 25, 75), (255, 255, 255)]
    assert len(colors) == 256
    with pytest.raises(FormatError, match='"red" is not a color'):
        palette(["a"], {"a": "red"}, 255)


def test_the_png_holds_the_indices():
    drawn = draw(square("b"))
    image = Image.open(io.BytesIO(encode_png(drawn, palette(["background", "a", "b"], {}, 255))))
    assert image.mode == "P"
    assert (np.asarray(image) == drawn).all()
