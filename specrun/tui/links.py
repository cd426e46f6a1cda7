"""Addresses of the web in lines of text: found, kept whole, and clickable."""

from __future__ import annotations

import re

from rich.style import Style

from specrun.tui.palette import Line
from specrun.views.text import chop, wrap

_LINK = re.compile(r"https?://[^\s<>\"'`]+[^\s<>\"'`.,;:!?)\]}]")


def links_in(text: str) -> list[str]:
    return _LINK.findall(text)


def linked_paragraph(text: str, width: int, styles: tuple[Style, Style], indent: int = 3) -> list[Line]:
    """Wrapped text; a link that does not fit behind it begins a line of its own, and each piece of it leads there.

    styles: of the text and of links.
    """
    room = max(10, width - indent - 1)
    lines: list[Line] = []
    at = 0
    for found in [*_LINK.finditer(text), None]:
        before = text[at : found.start() if found else None].strip()
        if before:
            lines += [((" " * indent + line, styles[0]),) for line in wrap(before, room)]
        if found:
            lines += [
                ((" " * indent, Style()), (piece, styles[1] + Style(link=found[0]))) for piece in chop(found[0], room)
            ]
            at = found.end()
    return lines
