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
    """told: prompt and seed of each. At most 400 pictures, evenly chosen, in rows of eight."""
    stride = -(-len(pictures) // _MOST)
    chosen = list(zip(pictures, told, strict=True))[::stride]
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (columns * _CELL, rows * (_CELL + _LABEL)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (path, (prompt, seed)) in enumerate(chosen):
        left, top = place % columns * _CELL, place // columns * (_CELL + _LABEL)
        # PIL's own font knows no other letters.
        draw.text((left + 2, top + 2), f"{seed} {prompt}".encode("latin-1", "replace").decode("latin-1")[:40], "black")
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((_CELL, _CELL))
        sheet.paste(small, (left + (_CELL - small.width) // 2, top + _LABEL + (_CELL - small.height) // 2))
    partial = target.with_suffix(".part")
    sheet.save(partial, "PNG")
    partial.replace(target)


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
