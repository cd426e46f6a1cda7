from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from specrun.training import contact_sheet
from specrun.training.contact_sheet import Cell, Row, save_sheet
from specrun.training.lettering import BLACK, WHITE, Plates, drawable, fitted, font, height_of, ink_on, wrapped

MARGIN, GAP = 16, 12


def picture(folder: Path, size: tuple[int, int], name: str = "a.png") -> Path:
    Image.new("RGB", size, "red").save(folder / name)
    return folder / name


def sheet_of(folder: Path, rows: list[Row]) -> Image.Image:
    save_sheet(folder / "sheet.png", rows)
    with Image.open(folder / "sheet.png") as sheet:
        return sheet.convert("RGB")


@pytest.mark.parametrize(
    ("size", "shown"),
    [((128, 128), (128, 128)), ((40, 30), (128, 96)), ((2000, 1000), (384, 192)), ((300, 200), (300, 200))],
)
def test_a_picture_fills_its_cell(tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]) -> None:
    sheet = sheet_of(tmp_path, [Row([Cell(picture(tmp_path, size), "seed 1")])])
    assert sheet.width == MARGIN + shown[0] + MARGIN
    red = [(x, y) for x in range(sheet.width) for y in range(sheet.height) if sheet.getpixel((x, y)) == (255, 0, 0)]
    assert len(red) == shown[0] * shown[1]
    assert red[0] == (MARGIN, MARGIN)


def test_many_columns_make_smaller_pictures(tmp_path: Path) -> None:
    large = picture(tmp_path, (1024, 1024))
    assert sheet_of(tmp_path, [Row([Cell(large)] * 8)]).width == 2 * MARGIN + 8 * 200 + 7 * GAP


def test_what_lacks_a_picture_keeps_its_place(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, [Row([Cell(None, "none"), Cell(picture(tmp_path, (128, 128)))], "step 0", "a heading")])
    assert (229, 231, 235) in {color for _, color in sheet.getcolors(9999) or []}


def test_of_too_many_pictures_rows_are_chosen_evenly_with_their_headings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "_MOST", 2)
    rows = [Row([Cell(None, str(n))], heading="a" if n == 0 else "b" if n == 1 else "") for n in range(4)]
    assert [(row.cells[0].caption, row.heading) for row in contact_sheet._chosen(rows, 2)] == [("0", "a"), ("2", "b")]


def test_letters_that_the_font_lacks_are_drawn_as_plain_ones() -> None:
    letters = font(13)
    assert drawable("Corail\n mou", letters) == "Corail mou"
    assert drawable("日本", letters) == "??"
    assert drawable("é", letters) in ("é", "e")


def test_text_is_cut_where_it_does_not_fit() -> None:
    letters = font(13)
    assert fitted("short", letters, 200) == "short"
    assert fitted("a long line of words", letters, 60).endswith("…")
    assert letters.getlength(fitted("a long line of words", letters, 60)) <= 60
    lines = wrapped("one two three four five six seven", letters, 60, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(letters.getlength(line) <= 60 for line in lines)
    assert wrapped("", letters, 60, 3) == []


def test_ink_differs_from_its_ground() -> None:
    assert ink_on((255, 255, 255)) == ink_on((132, 204, 22)) == ink_on((6, 182, 212)) == BLACK
    assert ink_on((0, 0, 0)) == ink_on((59, 40, 200)) == WHITE


@pytest.mark.parametrize("corner", [(0, 0), (120, 90), (-30, -5), (127, 95), (20, 50)])
def test_a_plate_lies_inside_the_picture(corner: tuple[int, int]) -> None:
    picture = Image.new("RGB", (128, 96))
    Plates(ImageDraw.Draw(picture), font(10)).put("coin 0.93", corner, (6, 182, 212))
    box = picture.getbbox()
    assert box is not None
    drawn = Image.new("RGB", (400, 300))
    Plates(ImageDraw.Draw(drawn), font(10)).put("coin 0.93", (150, 150), (6, 182, 212))
    whole = drawn.getbbox()
    assert whole is not None
    assert (box[2] - box[0], box[3] - box[1]) == (whole[2] - whole[0], whole[3] - whole[1])


def test_names_of_one_place_stand_below_each_other() -> None:
    red, blue, picture = (200, 0, 0), (0, 0, 200), Image.new("RGB", (128, 96))
    plates = Plates(ImageDraw.Draw(picture), font(10))
    plates.put("one", (20, 40), red)
    plates.put("two", (21, 41), blue)
    high = height_of(font(10))
    first, second = (int((np.asarray(picture) == color).all(axis=2).any(axis=1).argmax()) for color in (red, blue))
    assert first + high <= second <= first + 2 * high


def test_where_no_room_is_left_names_cover_each_other() -> None:
    picture = Image.new("RGB", (60, 20))
    plates = Plates(ImageDraw.Draw(picture), font(10))
    for name in ("one", "two", "three"):
        plates.put(name, (0, 0), WHITE)
    box = picture.getbbox()
    assert box is not None
    assert box[3] <= 20
