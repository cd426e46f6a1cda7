"""How a line of a log becomes rows on the screen: a pure function of the text and the width."""

from __future__ import annotations

import re
from enum import StrEnum

from specrun.views.text import cells, chop, clip, wrap

MAX_ROWS = 4
"""Rows that one line may take before the rest of it is left out."""
_HANGING = 2
_LEGIBLE = 12

_TABLE = re.compile(r"\S(?:(?: {2,}|\s?[|│]\s?)\S+){3,}")
"""At least four things side by side with gaps between them."""
_BAR = re.compile(r"(?P<percent>\d{1,3}%)[ :]*(?:[|\[][█▏▎▍▌▋▊▉#=>. -]{8,}[|\]]|[━╸╺─█▏▎▍▌▋▊▉░▒▓]{8,})[ ]*")


class LongLines(StrEnum):
    """FITTED: prose wraps, tables are cut, for wrapped they cannot be read."""

    FITTED = "fitted"
    WRAPPED = "every line wrapped"
    CUT = "no line wrapped"


_NEXT = {
    LongLines.FITTED: LongLines.WRAPPED,
    LongLines.WRAPPED: LongLines.CUT,
    LongLines.CUT: LongLines.FITTED,
}


def following(long_lines: LongLines) -> LongLines:
    return _NEXT[long_lines]


def without_bar(text: str) -> str:
    """A progress bar that was drawn with characters says no more than the percentage before it."""
    return _BAR.sub(r"\g<percent> ", text).rstrip() if "%" in text else text


def rows_of(text: str, width: int, long_lines: LongLines) -> list[str]:
    """One row for what fits or is cut when it is drawn, several for what wraps, those indented as the line is."""
    if width <= 0 or long_lines is LongLines.CUT or len(text) * 2 <= width or cells(text) <= width:
        return [text]
    if long_lines is LongLines.WRAPPED:
        return _wrapped(text, width)
    if _TABLE.search(text):
        return [text]
    rows = _wrapped(text, width)
    if len(rows) <= MAX_ROWS + 1:
        return rows
    left = sum(len(row.strip()) + 1 for row in rows[MAX_ROWS:])
    return [*rows[:MAX_ROWS], clip(f"  … {left:,} characters more: w shows them", width)]


def cut(text: str, left: int, width: int) -> str:
    """The part of a row that is seen from column `left` on, with an ellipsis at each end where there is more."""
    if left <= 0:
        return clip(text, width)
    pieces = chop(text, left)
    rest = "".join(pieces[1:])
    return clip(f"…{rest[1:]}", width) if rest else "…" if text.strip() else ""


def _wrapped(text: str, width: int) -> list[str]:
    if width < _LEGIBLE:
        return chop(text, width)
    own = " " * min(len(text) - len(text.lstrip(" ")), width // 3)
    first, *rest = wrap(text.lstrip(" "), width - len(own) - _HANGING)
    return [own + first, *(own + " " * _HANGING + row for row in rest)]
