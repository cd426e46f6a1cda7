"""Many pictures on one sheet, each with what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from specrun.training.lettering import font, height_of, wrapped

_GROUND, _EMPTY, _INK, _SOFT = (255, 255, 255), (229, 231, 235), (17, 24, 39), (75, 85, 99)
_MARGIN, _GAP = 16, 12
_LABEL = 120
_LEAST = 128
"""Longer side of the smallest pictures, which are enlarged to it."""
_WIDEST = 1600
_CELL_MOST, _CELL_LEAST = 384, 192
_CAPTION_LINES, _HEADING_LINES, _LABEL_LINES = 2, 3, 6
_MOST = 400


@dataclass(frozen=True, slots=True)
class Cell:
    """picture: None leaves an empty frame."""

    picture: Path | None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """heading: stands above it, over the whole width. label: stands before it."""

    cells: Sequence[Cell]
    label: str = ""
    heading: str = ""


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def save_sheet(target: Path, rows: Sequence[Row], read: Callable[[Path], Image.Image] = opened) -> None:
    """A PNG. Of more than 400 pictures, rows that are evenly chosen. read: upright RGB."""
    columns = max(len(row.cells) for row in rows)
    sheet = _Paper(_chosen(rows, max(1, _MOST // columns)), columns, read).drawn()
    partial = target.with_name(f".{target.name}.part")
    sheet.save(partial, "PNG")
    partial.replace(target)


def _chosen(rows: Sequence[Row], most: int) -> list[Row]:
    """Evenly; a row left out hands its heading on."""
    kept, heading = list[Row](), ""
    every = -(-len(rows) // most)
    for number, row in enumerate(rows):
        heading = row.heading or heading
        if number % every == 0:
            kept.append(Row(row.cells, row.label, heading))
            heading = ""
    return kept


class _Paper:
    """Where everything stands."""

    def __init__(self, rows: Sequence[Row], columns: int, read: Callable[[Path], Image.Image]) -> None:
        self._rows = rows
        most = max(_CELL_LEAST, min(_CELL_MOST, _WIDEST // columns))
        self._shown = [
            [None if cell.picture is None else _shown(read(cell.picture), most) for cell in row.cells] for row in rows
        ]
        sizes = [picture.size for row in self._shown for picture in row if picture is not None] or [(_LEAST, _LEAST)]
        # A narrow picture would leave no room for the words below it.
        self._cell_wh = max(_LEAST, *(width for width, _ in sizes)), max(height for _, height in sizes)
        self._label = _LABEL + _GAP if any(row.label for row in rows) else 0
        self._width = 2 * _MARGIN + self._label + columns * (self._cell_wh[0] + _GAP) - _GAP
        self._small, self._large = font(13), font(16)

    def drawn(self) -> Image.Image:
        height = 2 * _MARGIN + sum(map(self._row_height, range(len(self._rows)))) - _GAP
        sheet = Image.new("RGB", (self._width, height), _GROUND)
        top = _MARGIN
        for number in range(len(self._rows)):
            self._draw_row(sheet, number, top)
            top += self._row_height(number)
        return sheet

    def _row_height(self, number: int) -> int:
        row = self._rows[number]
        heading = self._heading_height(row)
        captions = max(len(self._caption(cell)) for cell in row.cells) * height_of(self._small)
        return heading + self._picture_height(number) + captions + _GAP

    def _picture_height(self, number: int) -> int:
        return max((picture.height for picture in self._shown[number] if picture is not None), default=self._cell_wh[1])

    def _draw_row(self, sheet: Image.Image, number: int, top: int) -> None:
        row, pen = self._rows[number], ImageDraw.Draw(sheet)
        for place, line in enumerate(self._heading(row)):
            pen.text((_MARGIN, top + place * height_of(self._large)), line, fill=_INK, font=self._large)
        top += self._heading_height(row)
        below = top + self._picture_height(number)
        for place, line in enumerate(wrapped(row.label, self._small, _LABEL, _LABEL_LINES)):
            pen.text((_MARGIN, top + place * height_of(self._small)), line, fill=_INK, font=self._small)
        for column, (cell, picture) in enumerate(zip(row.cells, self._shown[number], strict=True)):
            left = _MARGIN + self._label + column * (self._cell_wh[0] + _GAP)
            if picture is None:
                pen.rectangle([left, top, left + self._cell_wh[0] - 1, below - 1], fill=_EMPTY)
            else:
                sheet.paste(picture, (left, top))
            for place, line in enumerate(self._caption(cell)):
                pen.text((left, below + place * height_of(self._small)), line, fill=_SOFT, font=self._small)

    def _heading(self, row: Row) -> list[str]:
        return wrapped(row.heading, self._large, self._width - 2 * _MARGIN, _HEADING_LINES)

    def _heading_height(self, row: Row) -> int:
        lines = self._heading(row)
        return len(lines) * height_of(self._large) + _GAP // 2 if lines else 0

    def _caption(self, cell: Cell) -> list[str]:
        return wrapped(cell.caption, self._small, self._cell_wh[0], _CAPTION_LINES)


def _shown(picture: Image.Image, most: int) -> Image.Image:
    """As large as it stands on the sheet."""
    scale = max(_LEAST, min(max(picture.size), most)) / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)
