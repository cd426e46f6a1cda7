"""Many pictures as one sheet or one film."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from specrun.errors import MissingDependency

_CELL = 256
_LABEL = 16
_COLUMNS = 8
_MOST = 400


def save_sheet(target: Path, pictures: Sequence[Path], told: Sequence[tuple[str, int]]) -> None:
    """told: prompt and seed of each. At most 400 pictures, in rows that are evenly chosen."""
    rows = rows_of(told)
    rows = rows[:: -(-len(rows) // max(1, _MOST // max(map(len, rows))))]
    sheet = Image.new("RGB", (max(map(len, rows)) * _CELL, len(rows) * (_CELL + _LABEL)), "white")
    draw = ImageDraw.Draw(sheet)
    cells = [(row, column, number) for row, found in enumerate(rows) for column, number in enumerate(found)]
    for row, column, number in cells:
        path, (prompt, seed) = pictures[number], told[number]
        left, top = column * _CELL, row * (_CELL + _LABEL)
        # PIL's own font knows no other letters.
        draw.text((left + 2, top + 2), f"{seed} {prompt}".encode("latin-1", "replace").decode("latin-1")[:40], "black")
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((_CELL, _CELL))
        sheet.paste(small, (left + (_CELL - small.width) // 2, top + _LABEL + (_CELL - small.height) // 2))
    partial = target.with_suffix(".part")
    sheet.save(partial, "PNG")
    partial.replace(target)


def rows_of(told: Sequence[tuple[str, int]]) -> list[list[int]]:
    """Numbers of the pictures, row by row: a row for each prompt and changed picture with a column for each seed, or
    rows of eight where there is one seed, too many, or where pictures are missing."""
    seeds = list(dict.fromkeys(seed for _, seed in told))
    groups: dict[tuple[str, int], list[int]] = {}
    for number, one in enumerate(told):
        groups.setdefault(one, []).append(number)
    prompts = list(dict.fromkeys(prompt for prompt, _ in told))
    whole = len(groups) == len(prompts) * len(seeds) and len(set(map(len, groups.values()))) == 1
    if not whole or not 1 < len(seeds) <= _COLUMNS:
        return [list(range(first, min(first + _COLUMNS, len(told)))) for first in range(0, len(told), _COLUMNS)]
    return [list(row) for prompt in prompts for row in zip(*(groups[prompt, seed] for seed in seeds), strict=True)]


def save_video(target: Path, pictures: Sequence[Path], fps: float, check_stop: Callable[[], None]) -> None:
    """H.264 in MP4; the size of the first picture, its sides made even. Raises MissingDependency."""
    try:
        import av
    except ImportError:
        hint = "Install the extra: pip install 'specrun[lora]'."
        raise MissingDependency("A film needs PyAV.", hint=hint) from None
    with Image.open(pictures[0]) as first:
        size = (max(first.width // 2, 1) * 2, max(first.height // 2, 1) * 2)
    partial = target.with_suffix(".part")
    with av.open(str(partial), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"crf": "16"}
        for path in pictures:
            check_stop()
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                film.mux(packet)
        for packet in stream.encode():
            film.mux(packet)
    partial.replace(target)
