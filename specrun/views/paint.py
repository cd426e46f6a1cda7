"""ANSI colours for the text views: the terminal's own sixteen, so that its theme decides."""

from __future__ import annotations

from dataclasses import dataclass

from specrun.model.plan import Action

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}

ACTION_STYLES = {
    Action.CREATE: "green",
    Action.UPDATE: "yellow",
    Action.RESUME: "magenta",
    Action.NONE: "dim",
    Action.UNKNOWN: "cyan",
    Action.WAIT: "blue",
    Action.ORPHAN: "red",
    Action.DISABLED: "dim",
}


@dataclass(frozen=True, slots=True)
class Paint:
    """`Paint(color)("text", "red bold")`; without colour the text as it is."""

    color: bool

    def __call__(self, text: str, style: str) -> str:
        if not self.color or not style or not text:
            return text
        codes = ";".join(_CODES[name] for name in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"
