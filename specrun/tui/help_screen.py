"""The keys of the focused pane, and those that work everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from specrun.tui.keys import KeyHint
from specrun.tui.line_pane import LinePane
from specrun.tui.palette import Line
from specrun.tui.titles import set_subtitle, set_title
from specrun.views.text import pad

_SIGNS = (
    ("○ queued   ● running   ✔ done   = up to date   ✖ failed"),
    ("⏸ waits for people   ↻ tries again   ■ stopped   · skipped"),
)


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", show=False),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", show=False),
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
        set_subtitle(box, "esc closes")
        lines: list[Line] = [self._key_line(pane, hint) for hint in self._pane_keys]
        lines += [(), (("Everywhere", pane.palette.title),)]
        lines += [self._key_line(pane, hint) for hint in self._app_keys]
        lines += [(), (("Signs", pane.palette.title),)]
        lines += [((f"  {text}", pane.palette.dim),) for text in _SIGNS]
        pane.styles.height = min(len(lines), max(6, self.app.size.height - 8))
        pane.show_items(lines)

    def action_scroll(self, by: int) -> None:
        pane = self.query_one(LinePane)
        pane.scroll_to(y=pane.scroll_offset.y + by, animate=False)

    def _key_line(self, pane: LinePane, hint: KeyHint) -> Line:
        palette = pane.palette
        off = palette.faint if hint.disabled else palette.text
        reason = f"  ({hint.disabled})" if hint.disabled else ""
        return ((f"  {pad(hint.key, 13)}", palette.accent), (hint.label, off), (reason, palette.faint))
