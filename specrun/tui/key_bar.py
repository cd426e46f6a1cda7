"""The bottom line: the keys that matter where the focus is. A key that does nothing now is dimmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.message import Message

from specrun.tui.keys import KeyHint
from specrun.tui.line_pane import LinePane
from specrun.views.text import cells


class KeyBar(LinePane, can_focus=False):
    ALLOW_SELECT: ClassVar[bool] = False

    class Pressed(Message):
        """A key was clicked."""

        def __init__(self, hint: KeyHint) -> None:
            super().__init__()
            self.hint = hint

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ends: list[tuple[int, KeyHint]] = []

    def show_keys(self, keys: Sequence[KeyHint]) -> None:
        """Those that do not fit are left out; the last two always stay."""
        width = self.inner_width - 1
        fixed, room = list(keys[-2:]), width - sum(_width(key) for key in keys[-2:])
        chosen: list[KeyHint] = []
        for key in keys[:-2]:
            if _width(key) > room:
                break
            room -= _width(key)
            chosen.append(key)
        line: list[tuple[str, Style]] = []
        self._ends, at = [], 0
        for key in (*chosen, *fixed):
            off = bool(key.disabled)
            line += [
                (f" {key.key}", self.palette.faint if off else self.palette.accent),
                (f" {key.label} ", self.palette.faint if off else self.palette.dim),
            ]
            at += _width(key)
            self._ends.append((at, key))
        self.show_items([tuple(line)])

    def on_click(self, event: events.Click) -> None:
        for end, hint in self._ends:
            if event.x < end:
                self.post_message(self.Pressed(hint))
                return


def _width(key: KeyHint) -> int:
    return cells(key.key) + cells(key.label) + 3
