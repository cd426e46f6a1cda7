"""`labelmap.txt`, which CVAT writes beside VOC data sets and segmentation masks: the colour of each class."""

from __future__ import annotations

from pathlib import Path

from specrun.errors import FormatError
from specrun.formats.plain_text import plain_text

BACKGROUND = "background"
RGB = tuple[int, int, int]


def load_labelmap(file: Path) -> dict[str, RGB]:
    """Class → its colour, in the order of the file, the background among them.

    A line is `name:r,g,b:parts:actions`. Raises FormatError with the line.
    """
    colors: dict[str, RGB] = {}
    owners: dict[RGB, str] = {}
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FormatError(f"{file}: not UTF-8 text.") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        color = _color(rest.partition(":")[0])
        if color is None:
            hint = "A line is name:r,g,b:parts:actions, such as road:128,64,128::"
            raise FormatError(f"{file}:{number}: has no colour of three numbers from 0 to 255.", hint=hint)
        name = plain_text(name)
        if name in colors or color in owners:
            what = f'the class "{name}"' if name in colors else f'the colour of "{owners[color]}"'
            raise FormatError(f"{file}:{number}: {what} stands there twice.", hint="Each class needs its own colour.")
        colors[name] = color
        owners[color] = name
    return colors


def _color(text: str) -> RGB | None:
    values = text.split(",")
    if len(values) != 3 or not all(value.strip().isdecimal() and int(value) < 256 for value in values):
        return None
    red, green, blue = (int(value) for value in values)
    return red, green, blue
