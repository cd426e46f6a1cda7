"""Diagnostics as people and programs read them; the only place that draws them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from specrun.model.diagnostic import Diagnostic, Severity

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
_MAX_LINE = 120
_RESET, _BOLD, _DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
_COLOURS = {Severity.ERROR: "\x1b[31m", Severity.WARNING: "\x1b[33m"}


def wants_color(is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Colour on a terminal only, and never where NO_COLOR is set (https://no-color.org)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def render_diagnostics(diagnostics: Sequence[object], *, color: bool) -> str:
    """Every mistake: `file:line:column: message`, the source line and a caret; ends with the count.

    diagnostics: model.diagnostic.Diagnostic; anything else is shown as its text.
    """
    blocks = [_block(d, color) if isinstance(d, Diagnostic) else visible(str(d)) for d in diagnostics]
    errors = sum(not isinstance(d, Diagnostic) or d.severity is Severity.ERROR for d in diagnostics)
    warnings = len(diagnostics) - errors
    counts = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((errors, "mistake"), (warnings, "warning")) if n]
    return "\n\n".join(blocks) + (f"\n\n{_paint(', '.join(counts), _BOLD, color)}\n" if len(blocks) > 1 else "\n")


def diagnostic_json(diagnostic: Diagnostic) -> dict[str, Any]:
    where = diagnostic.where
    return {
        "severity": str(diagnostic.severity),
        "message": diagnostic.message,
        "hint": diagnostic.hint,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
        "length": where.length if where else None,
        "source_line": diagnostic.source_line,
        "related": [{"file": p.file, "line": p.line, "column": p.column} for p in diagnostic.related],
    }


def github_annotations(diagnostics: Sequence[object]) -> str:
    """Workflow commands that show each mistake at its line of the pull request; "" for none.

    Source: GitHub's page "Workflow commands for GitHub Actions".
    """
    return "".join(f"{_annotation(found)}\n" for found in diagnostics if isinstance(found, Diagnostic))


def _annotation(diagnostic: Diagnostic) -> str:
    where = diagnostic.where
    place = ""
    if where is not None and where.line:
        file = _github_text(visible(where.file)).replace(":", "%3A").replace(",", "%2C")
        place = f" file={file},line={where.line},col={where.column}"
    text = diagnostic.message + (f" {diagnostic.hint}" if diagnostic.hint else "")
    return f"::{diagnostic.severity}{place}::{_github_text(visible(text))}"


def _github_text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def visible(text: str) -> str:
    """Text of other people, without characters that could steer a terminal or hide text; tabs become spaces."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\t", " "))


def _block(diagnostic: Diagnostic, color: bool) -> str:
    paint = _COLOURS[diagnostic.severity]
    where = f"{visible(str(diagnostic.where))}: " if diagnostic.where else ""
    word = f"{_paint('warning', paint, color)}: " if diagnostic.severity is Severity.WARNING else ""
    hint = f" {visible(diagnostic.hint)}" if diagnostic.hint else ""
    head = f"{_paint(where, _BOLD, color)}{word}{visible(diagnostic.message)}{_paint(hint, _BOLD, color)}"
    lines = [head, *_excerpt(diagnostic, paint, color)]
    for place in diagnostic.related:
        lines.append(_paint(f"       also: {visible(str(place))}", _DIM, color))
    return "\n".join(lines)


def _excerpt(diagnostic: Diagnostic, paint: str, color: bool) -> list[str]:
    """The source line, cut around the place when it is long, and the caret under it."""
    where, source = diagnostic.where, diagnostic.source_line
    if where is None or source is None or not source.strip():
        return []
    line = visible(source)
    start = min(where.column - 1, len(line))
    length = max(1, min(where.length, len(line) - start))
    cut = max(0, min(start - _MAX_LINE // 3, len(line) - _MAX_LINE))
    shown = line[cut : cut + _MAX_LINE]
    if cut:
        shown = f"…{shown[1:]}"
    if cut + _MAX_LINE < len(line):
        shown = f"{shown[:-1]}…"
    number = str(where.line) if where.line else ""
    under = "^" * min(length, _MAX_LINE - (start - cut))
    return [
        f"{_paint(f'{number:>5} │', _DIM, color)} {shown}",
        f"{_paint('      │', _DIM, color)} {' ' * _width(line[cut:start])}{_paint(under, paint, color)}",
    ]


def _width(text: str) -> int:
    """Columns of a terminal: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _paint(text: str, code: str, color: bool) -> str:
    return f"{code}{text}{_RESET}" if color and text else text
