"""Outside text made safe for a terminal, and text measured in terminal cells."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS and the like, up to their terminator
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c"  # bidirectional controls: they reorder what stands around them
    "\u2028\u2029\ufeff\ud800-\udfff]"
)

_SHORTEST_VALUE = 5


def clean(text: str) -> str:
    """One line that cannot steer a terminal: escape sequences, control and direction characters are
    taken out, tabs and line ends become spaces."""
    if text.isascii() and text.isprintable():
        return text
    if "\x1b" in text or "\x9b" in text:
        text = _ESCAPES.sub("", text)
    text = text.replace("\r\n", " ").replace("\n", " ").replace("\t", "    ")
    return _INVISIBLE.sub("", text)


def cells(text: str) -> int:
    """Width in terminal cells: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cell(character) for character in text)


def _cell(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clip(text: str, width: int) -> str:
    """At most `width` cells; what is cut off ends in an ellipsis."""
    if width <= 0:
        return ""
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += _cell(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def clip_middle(text: str, width: int) -> str:
    """At most `width` cells with both ends kept, since instances of a matrix often differ at the end only."""
    if cells(text) <= width or width < 5:
        return clip(text, width)
    head = _head(text, width // 2)
    tail = _head(text[::-1], width - 1 - cells(head))[::-1]
    return f"{head}…{tail}"


def pad(text: str, width: int) -> str:
    """Clipped or filled with spaces to exactly `width` cells."""
    text = clip(text, width)
    return text + " " * (width - cells(text))


def clip_address(text: str, width: int) -> str:
    """At most `width` cells of an address, or of `key=value,key=value` alone: the longest values give way first, so
    that what tells an instance from its neighbours is still seen."""
    if cells(text) <= width or "=" not in text:
        return clip_middle(text, width)
    name, bracket, inside = text.partition("[") if "[" in text else ("", "", text)
    pairs = [pair.partition("=") for pair in inside.removesuffix("]").split(",")]
    frame = cells(text) - sum(cells(value) for _, _, value in pairs)
    most = max(cells(value) for _, _, value in pairs)
    while most > _SHORTEST_VALUE and frame + sum(min(cells(value), most) for _, _, value in pairs) > width:
        most -= 1
    values = ",".join(f"{key}{sign}{clip_middle(value, most)}" for key, sign, value in pairs)
    return clip_middle(f"{name}{bracket}{values}{']' if bracket else ''}", width)


def pad_address(text: str, width: int) -> str:
    """The same, filled with spaces to exactly `width` cells."""
    return pad(clip_address(text, width), width)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, broken at spaces, long words broken anywhere; `width` 0: one line."""
    if width <= 0 or cells(text) <= width:
        return [text]
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        while cells(word) > width:
            room = width - cells(line) - 1 if line else width
            if line and room < max(2, width // 3):
                lines.append(line)
                line, room = "", width
            head = _head(word, room)
            lines.append(f"{line} {head}" if line else head)
            line, word = "", word[len(head) :]
        if line and cells(line) + 1 + cells(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines


def chop(text: str, width: int) -> list[str]:
    """Pieces of at most `width` cells, as a terminal breaks a line: every character stays."""
    if width <= 0:
        return [text]
    if text.isascii():
        return [text[i : i + width] for i in range(0, len(text), width)] or [""]
    pieces = []
    while cells(text) > width:
        head = _head(text, width)
        pieces.append(head)
        text = text[len(head) :]
    return [*pieces, text] if text or not pieces else pieces


def _head(word: str, width: int) -> str:
    used = 0
    for index, character in enumerate(word):
        used += _cell(character)
        if used > width:
            return word[: max(index, 1)]
    return word
