"""The keys of the focused pane, and those that work everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from specrun.tui.keys import KeyHint
from specrun.tui.line_pane import LinePane, line_width
from specrun.tui.palette import Line
from specrun.tui.titles import set_subtitle, set_title
from specrun.views.node_view import NodeState
from specrun.views.text import cells, clip, pad, wrap

COLUMN = 52
_PAIRS = (
    ("up", "down"),
    ("page up", "page down"),
    ("first", "last"),
    ("first line", "last line"),
    ("next match", "previous match"),
    ("previous metric", "next metric"),
)
_SIGNS = (
    (NodeState.QUEUED, "queued"),
    (NodeState.RUNNING, "running"),
    (NodeState.DONE, "done"),
    (NodeState.UNCHANGED, "up to date"),
    (NodeState.FAILED, "failed"),
    (NodeState.STOPPED, "stopped"),
    (NodeState.WAITING, "waits for people"),
    (NodeState.RETRYING, "tries again soon"),
    (NodeState.SKIPPED, "skipped"),
)


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", show=False),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", show=False),
        Binding("pageup,b", "scroll(-10)", show=False),
        Binding("pagedown,space", "scroll(10)", show=False),
        Binding("home,g", "scroll(-1000)", show=False),
        Binding("end,G", "scroll(1000)", show=False),
    ]

    def __init__(self, pane: str, pane_keys: Sequence[KeyHint], app_keys: Sequence[KeyHint]) -> None:
        super().__init__()
        self._pane, self._pane_keys, self._app_keys = pane, pane_keys, app_keys

    def compose(self) -> ComposeResult:
        with Vertical(id="help"):
            yield LinePane(id="help-lines")

    def on_mount(self) -> None:
        box, pane = self.query_one("#help"), self.query_one(LinePane)
        set_title(box, f"Keys of {self._pane}")
        own = [line for hint in _paired(self._pane_keys) for line in self._key_lines(pane, hint)]
        signs: list[Line] = [(), (("Signs", pane.palette.title),), *self._sign_lines(pane)]
        everywhere: list[Line] = [(("Everywhere", pane.palette.title),)]
        everywhere += [line for hint in self._app_keys for line in self._key_lines(pane, hint)]
        beside = self.app.size.width >= 2 * COLUMN + 12
        lines = _beside([*own, *signs], everywhere, COLUMN) if beside else [*own, (), *everywhere, *signs]
        pane.styles.width = (2 if beside else 1) * COLUMN + 2
        low = len(lines) + 6 > self.app.size.height
        box.styles.padding = (0, 1) if low else (1, 2)
        box.styles.max_height = "100%" if low else "90%"
        pane.styles.max_height = None
        pane.styles.height = min(len(lines), max(4, self.app.size.height - (2 if low else 6)))
        pane.show_items(lines)
        self.watch(pane, "scroll_y", self._say_more)
        self.call_after_refresh(self._say_more)

    def action_scroll(self, by: int) -> None:
        pane = self.query_one(LinePane)
        pane.scroll_to(y=pane.scroll_offset.y + by, animate=False)

    def _say_more(self) -> None:
        pane = self.query_one(LinePane)
        below = len(pane.items) - pane.scroll_offset.y - pane.size.height
        set_subtitle(self.query_one("#help"), f"↓ {below} more · esc closes" if below > 0 else "esc closes")

    def _sign_lines(self, pane: LinePane) -> list[Line]:
        return [
            ((f"  {pad(state.sign, 13)}", pane.palette.of_state(state)), (said, pane.palette.text))
            for state, said in _SIGNS
        ]

    def _key_lines(self, pane: LinePane, hint: KeyHint) -> list[Line]:
        """A disabled key says why, below it where there is no room beside it."""
        palette = pane.palette
        head = (f"  {pad(hint.key, 13)}", palette.accent)
        if not hint.disabled:
            return [(head, (clip(hint.help, COLUMN - 16), palette.text))]
        first: Line = (head, (hint.label, palette.faint))
        if cells(hint.disabled) <= COLUMN - 18 - cells(hint.label):
            return [(*first, (f"  {hint.disabled}", palette.faint))]
        return [first, *(((" " * 17 + line, palette.faint),) for line in wrap(hint.disabled, COLUMN - 18))]


def _paired(hints: Sequence[KeyHint]) -> list[KeyHint]:
    """Up and down, first and last on one line each."""
    found: list[KeyHint] = []
    for hint in hints:
        before = found[-1] if found else None
        if before is not None and (before.help, hint.help) in _PAIRS and cells(before.key + hint.key) < 13:
            found[-1] = replace(before, key=f"{before.key} {hint.key}", help=f"{before.help}, {hint.help}")
        else:
            found.append(hint)
    return found


def _beside(left: Sequence[Line], right: Sequence[Line], width: int) -> list[Line]:
    """Two columns of lines."""
    lines: list[Line] = []
    for index in range(max(len(left), len(right))):
        first = left[index] if index < len(left) else ()
        second = right[index] if index < len(right) else ()
        lines.append((*first, (" " * max(0, width - line_width(first)), Style()), *second))
    return lines
