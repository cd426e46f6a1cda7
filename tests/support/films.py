"""Small films whose frames carry their number as a row of black and white blocks along the top."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

BITS = 12


def numbered_picture(number: int, size_wh: tuple[int, int] = (192, 96)) -> NDArray[np.uint8]:
    """The blocks lie in the upper half; below, a square moves along."""
    width, height = size_wh
    picture = np.full((height, width, 3), 90, np.uint8)
    block = width // BITS
    for bit in range(BITS):
        picture[: height // 2, bit * block : (bit + 1) * block] = 255 if number >> bit & 1 else 0
    left = number * 3 % max(1, width - 16)
    picture[height * 5 // 8 : height * 7 // 8, left : left + 16] = (220, 60, 40)
    return picture


def number_of(picture: NDArray[np.uint8]) -> int:
    """What `numbered_picture` wrote, also after a lossy codec."""
    height, width = picture.shape[:2]
    block = width // BITS
    bits = [
        picture[height // 8 : height * 3 // 8, bit * block + 2 : (bit + 1) * block - 2].mean() for bit in range(BITS)
    ]
    return sum(1 << bit for bit, light in enumerate(bits) if light > 128)


def write_film(
    path: Path,
    frames: int | Iterable[int] = 40,
    *,
    rate: int | Fraction = 20,
    size_wh: tuple[int, int] = (192, 96),
    codec: str = "libx264",
    ticks: Sequence[int] | None = None,
    turn: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """frames: their number, or the numbers that are drawn. ticks: when each is shown, in units of 1/1000 s, for a
    variable rate. turn: rotation in the metadata, degrees counter-clockwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(frames) if isinstance(frames, int) else frames
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            codec, rate=rate, options={"g": "12", "crf": "20"} if options is None else options
        )
        stream.width, stream.height = size_wh
        stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
        if ticks is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if turn:
            stream.set_display_rotation(turn)
        for place, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, size_wh), format="rgb24")
            frame.pts = place if ticks is None else ticks[place]
            frame.time_base = Fraction(1, 1000) if ticks is not None else 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_interlaced_film(path: Path, frames: int = 6, size_wh: tuple[int, int] = (192, 96)) -> Path:
    """Even lines show one colour and odd ones another, as if something went by between two moments."""
    width, height = size_wh
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            "mpeg2video", rate=25, options={"flags": "+ilme+ildct", "g": "3", "qmin": "1", "qmax": "2"}
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            field = av.VideoFrame(width, height, "yuv420p")
            for plane, (even, odd) in zip(field.planes, ((80, 140), (60, 200), (210, 90)), strict=True):
                lines = np.empty((plane.height, plane.line_size), np.uint8)
                lines[0::2], lines[1::2] = even, odd
                plane.update(lines.tobytes())
            field.pts = number
            container.mux(stream.encode(field))
        container.mux(stream.encode(None))
    return path
