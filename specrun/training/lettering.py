"""Words on pictures that can be read on any ground and at any size."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import ImageFont

Color = tuple[int, int, int]
BLACK: Color = (17, 24, 39)
WHITE: Color = (255, 255, 255)
_NO_LETTER = "\uffff"
_MORE = "…"
_LOWER = 5
"""Lines that a name may stand lower than it should; further away it would name nothing."""


@lru_cache(maxsize=32)
def font(height_px: int) -> Any:
    """A plain sans serif: DejaVu, which has Latin, Greek and Cyrillic letters, where matplotlib or the system has it;
    else Pillow's own, which knows no accents."""
    for place in _dejavu():
        try:
            return ImageFont.truetype(place, height_px)
        except OSError:
            continue
    return ImageFont.load_default(height_px)


def _dejavu() -> list[str]:
    found = find_spec("matplotlib")  # its folder alone: importing it takes a second
    inside = Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if found and found.origin else None
    return [*([str(inside)] if inside else []), "DejaVuSans.ttf"]


def drawable(text: str, letters: Any) -> str:
    """On one line; a letter that the font lacks without its accent, or else as a question mark."""
    return "".join(_drawable(one, letters) for one in " ".join(text.split()))


def _drawable(letter: str, letters: Any) -> str:
    if _has(letters, letter):
        return letter
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or "?"


@lru_cache(maxsize=4096)
def _has(letters: Any, letter: str) -> bool:
    return letter == " " or bytes(letters.getmask(letter)) != bytes(letters.getmask(_NO_LETTER))


def fitted(text: str, letters: Any, width_px: float) -> str:
    """As much of a line as fits, with a sign that it was cut."""
    text = drawable(text, letters)
    if letters.getlength(text) <= width_px:
        return text
    while text and letters.getlength(text + _MORE) > width_px:
        text = text[:-1]
    return text.rstrip() + _MORE if text else ""


def wrapped(text: str, letters: Any, width_px: float, most: int) -> list[str]:
    """At most so many lines; the last one is cut."""
    words, lines = drawable(text, letters).split(), list[str]()
    while words and len(lines) < most - 1:
        count = 1
        while count < len(words) and letters.getlength(" ".join(words[: count + 1])) <= width_px:
            count += 1
        lines.append(fitted(" ".join(words[:count]), letters, width_px))
        words = words[count:]
    return [*lines, *([fitted(" ".join(words), letters, width_px)] if words else [])]


def height_of(letters: Any) -> int:
    """Of a line, with what hangs below it."""
    above, below = letters.getmetrics()
    return int(above + below)


def ink_on(ground: Color) -> Color:
    """Black or white, whichever differs more from the ground.

    Source: relative luminance and contrast ratio of WCAG 2.1.
    """
    light = _luminance(ground)
    return BLACK if (light + 0.05) ** 2 > (_luminance(BLACK) + 0.05) * (_luminance(WHITE) + 0.05) else WHITE


def _luminance(color: Color) -> float:
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def letter_height(size_wh: tuple[int, int]) -> int:
    """Pixels, for names on a picture of this size: readable, and small beside it."""
    return max(9, min(48, round(min(size_wh) / 32) + 6))


class Plates:
    """Names on solid plates, inside the picture and beside each other. pen: an ImageDraw."""

    def __init__(self, pen: Any, letters: Any) -> None:
        self._pen, self._letters, self._high = pen, letters, height_of(letters)
        self._taken: list[tuple[int, int, int, int]] = []

    def put(self, text: str, corner_xy: tuple[float, float], ground: Color) -> None:
        """On the corner where there is room above it, else below; where another name stands already, under that."""
        width, height = self._pen.im.size
        text = fitted(text, self._letters, width - 4)
        if not text:
            return
        wide = round(self._letters.getlength(text)) + 4
        left = min(max(0, round(corner_xy[0])), max(0, width - wide))
        on = round(corner_xy[1])
        first = min(max(0, on - self._high if on >= self._high else on), max(0, height - self._high))
        lower = range(first, max(first + 1, height - self._high + 1), self._high)
        boxes = [(left, top, left + wide, top + self._high) for top in lower]
        box = next((box for box in boxes[:_LOWER] if not any(_meet(box, one) for one in self._taken)), boxes[0])
        self._taken.append(box)
        self._pen.rectangle([box[0], box[1], box[2] - 1, box[3] - 1], fill=ground)
        self._pen.text((left + 2, box[1]), text, fill=ink_on(ground), font=self._letters)


def _meet(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
