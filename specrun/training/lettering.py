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


def plate(
    pen: Any, text: str, corner_xy: tuple[float, float], ground: Color, letters: Any, *, above: bool = True
) -> None:
    """A name on a solid plate: on the corner where there is room above it, else below; inside the picture always."""
    width, height = pen.im.size
    text = fitted(text, letters, width - 4)
    if not text:
        return
    wide, high = round(letters.getlength(text)) + 4, height_of(letters)
    left = min(max(0, round(corner_xy[0])), max(0, width - wide))
    top = round(corner_xy[1]) - (high if above and corner_xy[1] >= high else 0)
    top = min(max(0, top), max(0, height - high))
    pen.rectangle([left, top, left + wide - 1, top + high - 1], fill=ground)
    pen.text((left + 2, top), text, fill=ink_on(ground), font=letters)
