"""What a generation made, on one sheet."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image

from specrun.formats.images import read_upright_rgb
from specrun.kinds.generations.wishes import Wish
from specrun.model.labels import Sample
from specrun.training import contact_sheet
from specrun.training.contact_sheet import Cell, Row

_COLUMNS = 8


def save_sheet(target: Path, folder: Path, wishes: Sequence[Wish], broken: Container[int]) -> None:
    """folder: in which the pictures lie. broken: numbers of wishes that have none."""
    contact_sheet.save_sheet(target, list(sheet_rows(folder, wishes, broken)), _read)


def sheet_rows(folder: Path, wishes: Sequence[Wish], broken: Container[int]) -> Iterator[Row]:
    """Under each prompt its pictures by seed, or each picture that is changed followed by what became of it; with one
    seed and no such pictures, the prompts side by side."""
    if not any(wish.sample for wish in wishes) and len({wish.seed for wish in wishes}) == 1:
        cells = [_cell(folder, wish, broken, f": {wish.prompt}") for wish in wishes]
        yield from (Row(part) for part in _parts(cells, _COLUMNS))
        return
    for prompt, group in groupby(wishes, lambda wish: wish.prompt):
        together: dict[str, list[Cell]] = {}
        for wish in group:
            sample = wish.sample
            first = [] if sample is None else [Cell(sample.media, source_name(sample))]
            together.setdefault(sample.key if sample else "", first).append(_cell(folder, wish, broken))
        widest = max(map(len, together.values()))
        columns = _COLUMNS if widest > _COLUMNS else _COLUMNS // widest * widest
        cells = [cell for found in together.values() for cell in found]
        for number, part in enumerate(_parts(cells, columns)):
            yield Row(part, heading=prompt if number == 0 else "")


def source_name(sample: Sample) -> str:
    """Of a film's frame its number and time, else the picture's name."""
    clip, frame, time_s = (sample.fields.get(name) for name in ("clip", "frame", "time_s"))
    if clip is None or frame is None:
        return sample.name
    at = f" ({time_s:.2f} s)" if isinstance(time_s, float | int) else ""
    return f"{clip}, frame {frame}{at}"


def _cell(folder: Path, wish: Wish, broken: Container[int], more: str = "") -> Cell:
    if wish.number in broken:
        return Cell(None, f"seed {wish.seed}: no numbers came out{more}")
    return Cell(folder / wish.file, f"seed {wish.seed}{more}")


def _parts(cells: Sequence[Cell], count: int) -> Iterator[Sequence[Cell]]:
    return (cells[first : first + count] for first in range(0, len(cells), count))


def _read(path: Path) -> Image.Image:
    return Image.fromarray(read_upright_rgb(path))
