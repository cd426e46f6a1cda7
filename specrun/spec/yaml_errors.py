"""What the YAML parser objects to, said for people, at the place to mend it."""

from __future__ import annotations

import re
from typing import Any

from specrun.model.diagnostic import Position

_CANNOT_START = re.compile(r"found character '(.+)' that cannot start any token")
_OPEN_BRACKET = {"flow sequence": "[", "flow mapping": "{"}


def explain(error: Any, file: str, text: str) -> tuple[Position, str, str | None]:
    """error: a ruamel YAMLError. (where, what is wrong, what to do)"""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _character(error, file, text)
    where = Position(file, mark.line + 1, mark.column + 1)
    lines = text.splitlines() or [""]
    line = lines[mark.line] if mark.line < len(lines) else ""
    problem, context = str(error.problem or ""), str(error.context or "")
    opened = _opened(error, file)
    if "\t" in line[: mark.column + 1] and not line[: mark.column].strip():
        return where, "a tab indents this line", "YAML indents with spaces."
    if found := _CANNOT_START.search(problem):
        return where, f"{found[1]} cannot start a value", "Put quotes around the value."
    if "mapping values are not allowed" in problem:
        return _second_colon(where, lines, mark)
    if "could not find expected ':'" in problem:
        return _no_colon(error, where, file, lines)
    if "unexpected end of stream" in problem and "quoted" in context:
        return opened or where, "this quote is never closed", "Close it, or leave both quotes out."
    if bracket := next((sign for name, sign in _OPEN_BRACKET.items() if name in context), None):
        return _bracket(bracket, where, opened, problem)
    if "<stream end>" in problem:
        return where, "the file ends inside a list or mapping in brackets", "Close every bracket."
    if "expected <block end>" in problem:
        return where, "this line does not fit the indentation of the lines above", "Align it with its neighbours."
    if "expected '<document start>'" in problem:
        return where, "nothing may follow here: the document has ended", "Is there a bracket or a quote too many?"
    return where, f"not valid YAML: {context + ', ' if context else ''}{problem}", None


def _opened(error: Any, file: str) -> Position | None:
    mark = getattr(error, "context_mark", None)
    return Position(file, mark.line + 1, mark.column + 1) if mark else None


def _character(error: Any, file: str, text: str) -> tuple[Position, str, str | None]:
    """ruamel's ReaderError: a character that YAML does not allow at all."""
    offset = getattr(error, "position", 0)
    before = text[:offset]
    where = Position(file, before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)
    character = getattr(error, "character", None)
    code = ord(character) if isinstance(character, str) else character
    shown = f"the control character U+{code:04X}" if isinstance(code, int) else "a control character"
    return where, f"{shown} is not allowed in YAML", 'Remove it, or write it as "\\x.." inside double quotes.'


def _second_colon(where: Position, lines: list[str], mark: Any) -> tuple[Position, str, str | None]:
    line = lines[mark.line] if mark.line < len(lines) else ""
    before = line[: mark.column]
    if ": " in before:
        return where, 'a second ": " on this line', "Put quotes around the value, or start a new line for the key."
    above = next((text for text in reversed(lines[: mark.line]) if text.strip()), "")
    if above and _indent(line) > _indent(above) and not above.rstrip().endswith(":"):
        return where, "this line is indented deeper than the line above, which already has a value", "Align the two."
    return where, "this key follows something that is no mapping", 'Does the line above miss its ":"?'


def _no_colon(error: Any, where: Position, file: str, lines: list[str]) -> tuple[Position, str, str | None]:
    start = _opened(error, file) or where
    line = lines[start.line - 1] if start.line <= len(lines) else ""
    word = line[start.column - 1 :].strip()
    return start, f'"{word[:40]}" is neither a key nor a value here', 'A key is followed by ": ".'


def _bracket(bracket: str, where: Position, opened: Position | None, problem: str) -> tuple[Position, str, str | None]:
    closing = "]" if bracket == "[" else "}"
    if "<stream end>" in problem or (opened and opened.line != where.line):
        return opened or where, f'this "{bracket}" is never closed', f'Add "{closing}" where the list or mapping ends.'
    return where, f'a "," or "{closing}" is missing before this', "Quote values that hold brackets, commas or colons."


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
