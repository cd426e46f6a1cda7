"""A question over the dashboard, answered by a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from specrun.tui.line_pane import LinePane, line_width
from specrun.tui.palette import Line
from specrun.tui.titles import set_title
from specrun.views.text import wrap

_WIDTH = 64
"""Columns of the text, where there is room."""
_AROUND = 10
"""Columns that border and padding take, and that the screen keeps free."""


@dataclass(frozen=True, slots=True)
class Answer:
    key: str
    label: str


class AskScreen(ModalScreen[str]):
    """Dismissed with the key of the answer, or "" for none of them (escape, n)."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,n,q,ctrl+c", "no", show=False)]

    def __init__(self, title: str, text: str, answers: Sequence[Answer]) -> None:
        super().__init__()
        self._title, self._question, self._answers = title, text, answers

    def compose(self) -> ComposeResult:
        with Vertical(id="ask"):
            yield LinePane(id="ask-lines")

    def on_mount(self) -> None:
        box = self.query_one("#ask")
        set_title(box, self._title)
        self._lay_out(self.app.size.width)

    def on_resize(self, event: events.Resize) -> None:
        self._lay_out(event.size.width)

    def _lay_out(self, screen_width: int) -> None:
        pane = self.query_one(LinePane)
        width = max(1, min(_WIDTH, screen_width - _AROUND))
        lines: list[Line] = [((text, pane.palette.text),) for text in wrap(self._question, width)]
        lines.append(())
        choice: list[tuple[str, Style]] = []
        for answer in (*self._answers, Answer("esc", "no")):
            said: list[tuple[str, Style]] = [(answer.key, pane.palette.accent), (f" {answer.label}", pane.palette.dim)]
            if choice and line_width((*choice, *said)) + 4 > width:
                lines.append(tuple(choice))
                choice = []
            choice += [("    ", pane.palette.dim), *said] if choice else said
        lines.append(tuple(choice))
        pane.styles.width, pane.styles.height = width, len(lines)
        pane.show_items(lines)

    def on_key(self, event: events.Key) -> None:
        character = event.character or event.key
        if any(character == answer.key for answer in self._answers):
            event.stop()
            self.dismiss(character)

    def action_no(self) -> None:
        self.dismiss("")
