"""The names of the tabs on one line."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events

from specrun.tui.line_pane import LinePane
from specrun.tui.messages import TabChosen

TABS = ("Log", "Metrics", "Plan", "Artifacts", "Details")


class TabBar(LinePane, can_focus=False):
    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.active = TABS[0]
        self.marks: dict[str, str] = {}
        """Tab → a short text beside its name (`12`)."""
        self._ends: list[tuple[int, str]] = []

    def show_tabs(self, active: str, marks: dict[str, str]) -> None:
        self.active, self.marks = active, marks
        palette = self.palette
        short = self.inner_width < 58
        line: list[tuple[str, Style]] = []
        self._ends, at = [], 0
        for number, name in enumerate(TABS, 1):
            chosen = name == active
            mark = marks.get(name, "")
            texts = [
                (" ", Style()),
                ("" if short else f"{number} ", palette.title if chosen else palette.accent),
                (name, palette.title + Style(underline=True) if chosen else palette.dim),
                (f" {mark}" if mark and not short else "", palette.faint),
                (" " if short else "  ", Style()),
            ]
            line += texts
            at += sum(len(text) for text, _ in texts)
            self._ends.append((at, name))
        self.show_items([tuple(line)])

    def on_click(self, event: events.Click) -> None:
        for end, name in self._ends:
            if event.x < end:
                self.post_message(TabChosen(name))
                return
