"""The lines of a log: followed, wrapped, searched, bounded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.selection import Selection

from specrun.tui.line_pane import LinePane
from specrun.tui.log_layout import LongLines, cut, following, rows_of
from specrun.tui.messages import LogOpened
from specrun.tui.palette import Line, Palette
from specrun.views.text import cells

MAX_LINES = 10_000
SIDE_STEP = 16
SLACK = 1_000
"""Old lines go in bundles of this size: cutting the list for each new one would cost more than drawing it."""

_TROUBLE = re.compile(
    r"(?P<bad>\b(?:ERROR|CRITICAL|FATAL|FAILED|Traceback|\w*(?:Error|Exception))\b)|(?P<warn>\b(?:WARN(?:ING)?|\w*Warning|warning)\b)"
)


class LogLines(LinePane, can_focus=True):
    """Follows the end until somebody scrolls up, and again once they are back at the end."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "up", show=False),
        Binding("down,j", "scroll_down", "down", show=False),
        Binding("pageup,b", "page_up", "page up", show=False),
        Binding("pagedown,space", "page_down", "page down", show=False),
        Binding("home,g", "scroll_home", "first line", show=False),
        Binding("end,G", "to_end", "last line", show=False),
        Binding("f", "follow", "follow", tooltip="follow the end, or hold still"),
        Binding("left,h", "aside(-1)", "look to the left, right of what is cut", show=False, key_display="← →"),
        Binding("right,l", "aside(1)", show=False),
        Binding("w", "wrap", "wrap", tooltip="long lines: fitted, wrapped, cut"),
        Binding("n", "next(1)", "next match", show=False),
        Binding("N", "next(-1)", "previous match", show=False),
        Binding("v", "open(False)", "pager", tooltip="open the whole log in $PAGER"),
        Binding("e", "open(True)", "editor", tooltip="open the whole log in $EDITOR"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.following = True
        self.long_lines = LongLines.FITTED
        self.left = 0
        """The first column that is shown of rows that are cut."""
        self.wanted = ""
        """What is searched for; without capital letters their case does not matter."""
        self._texts: list[str] = []
        self._rows: list[tuple[str, int]] = []
        """Text of a row on the screen, and the index of its line."""
        self._pending = ""
        """A line that goes on: it stands behind the others until it is whole."""
        self._wrap_width = 0
        self._match: int | None = None
        self._own_scroll = False
        self.empty_text = ""

    @property
    def lines(self) -> Sequence[str]:
        return self._texts

    def replace(self, lines: Sequence[str], *, empty_text: str = "") -> None:
        """Another node's log; follows again."""
        self._texts, self._pending = list(lines)[-MAX_LINES:], ""
        self.empty_text = empty_text
        self.following, self._match, self.left = True, None, 0
        self._lay_out()

    def append(self, lines: Sequence[str], *, pending: str = "") -> None:
        """pending: what there is by now of a line that has no end yet."""
        if not lines and pending == self._pending:
            return
        while self._rows and self._rows[-1][1] == len(self._texts):
            self._rows.pop()
        self._texts += lines
        self._pending = pending
        if len(self._texts) > MAX_LINES + SLACK:
            self._prune()
            return
        visible_before = len(self._rows) < self.scroll_offset.y + self.size.height
        base = len(self._texts) - len(lines)
        for offset, text in enumerate(lines):
            self._rows += [(part, base + offset) for part in self._parts(text)]
        self._rows += self._pending_rows()
        self._resize_canvas()
        if self.following:
            self._to_end()
        if visible_before or self.following:
            self.refresh()

    def search(self, wanted: str) -> int:
        """Marks what matches and goes to the last match; gives the number of lines that match."""
        self.wanted = wanted
        found = self.matches()
        self._match = None
        if found:
            self._go_to_line(found[-1])
        self.refresh()
        return len(found)

    def matches(self) -> list[int]:
        if not self.wanted:
            return []
        pattern = self._pattern()
        return [index for index, text in enumerate(self._texts) if pattern.search(text)]

    def draw(self, item: Any, index: int, width: int) -> Line:
        text, line = item
        if line < 0:
            return ((text, self.palette.dim),)
        text = self._seen(text, width)
        here = line == self._match
        return _coloured(text, self.palette, self._pattern() if self.wanted else None, here=here)

    def repaint(self) -> None:
        if self.inner_width != self._wrap_width:
            self._lay_out()
        super().repaint()

    def on_resize(self) -> None:
        if self.inner_width != self._wrap_width:
            self._lay_out()
        elif self.following:
            self._to_end()

    def plain_lines(self) -> list[str]:
        """Whole, however they are shown."""
        return [*self._texts, *([self._pending] if self._pending else [])]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        shown = "\n".join(self._seen(text, self.inner_width) for text, _ in self._rows)
        return selection.extract(shown), "\n"

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if not self._own_scroll and round(old_value) != round(new_value):
            self.following = new_value >= self.max_scroll_y

    def action_follow(self) -> None:
        self.following = not self.following
        if self.following:
            self._to_end()
        self.refresh()

    def action_to_end(self) -> None:
        self.following = True
        self._to_end()

    def action_wrap(self) -> None:
        self.long_lines = following(self.long_lines)
        self.left = 0
        self._lay_out()

    def action_aside(self, by: int) -> None:
        """Only as far as something is cut."""
        longest = max((cells(text) for text, _ in self._rows[self.scroll_offset.y :][: self.size.height]), default=0)
        self.left = max(0, min(self.left + by * SIDE_STEP, longest - self.inner_width + SIDE_STEP // 2))
        self.refresh()

    def action_next(self, step: int) -> None:
        found = self.matches()
        if not found:
            self.app.bell()
            return
        at = self._match if self._match is not None else found[-1]
        if step > 0:
            following = [line for line in found if line > at]
            self._go_to_line(following[0] if following else found[0])
        else:
            before = [line for line in found if line < at]
            self._go_to_line(before[-1] if before else found[-1])

    def action_open(self, in_editor: bool) -> None:
        self.post_message(LogOpened(in_editor=in_editor))

    def _pattern(self) -> re.Pattern[str]:
        flags = re.NOFLAG if any(character.isupper() for character in self.wanted) else re.IGNORECASE
        return re.compile(re.escape(self.wanted), flags)

    def _parts(self, text: str) -> list[str]:
        return rows_of(text, self._wrap_width, self.long_lines)

    def _pending_rows(self) -> list[tuple[str, int]]:
        return [(part, len(self._texts)) for part in self._parts(self._pending)] if self._pending else []

    def _seen(self, text: str, width: int) -> str:
        """Rows that fit stay where they are when people look aside."""
        return text if len(text) * 2 <= width or cells(text) <= width else cut(text, self.left, width)

    def _lay_out(self) -> None:
        self._wrap_width = self.inner_width
        self._rows = [(part, index) for index, text in enumerate(self._texts) for part in self._parts(text)]
        self._rows += self._pending_rows()
        self._resize_canvas()
        if self.following:
            self._to_end()
        self.refresh()

    def _prune(self) -> None:
        """Keeps what a reader looks at in its place while the oldest lines go."""
        gone = len(self._texts) - MAX_LINES
        rows_gone = sum(1 for _, line in self._rows if line < gone)
        del self._texts[:gone]
        self._match = None
        self._own_scroll = True
        above = self.scroll_offset.y - rows_gone
        self._lay_out()
        if not self.following:
            self.scroll_to(y=max(0, above), animate=False, immediate=True, force=True)
        self._own_scroll = False

    def _resize_canvas(self) -> None:
        self._items = self._rows or [("", 0), (f"  {self.empty_text}", -1)]
        self.virtual_size = Size(max(1, self.inner_width), len(self._rows))

    def _to_end(self) -> None:
        self._own_scroll = True
        # By force: the scrollbar that would allow it is shown only after the next layout.
        self.scroll_to(y=self.max_scroll_y, animate=False, immediate=True, force=True)
        self._own_scroll = False

    def _go_to_line(self, line: int) -> None:
        self._match = line
        row = next((index for index, (_, of) in enumerate(self._rows) if of == line), 0)
        self.following = False
        self.scroll_to(y=max(0, row - self.size.height // 2), animate=False, immediate=True, force=True)
        self.refresh()


def _coloured(text: str, palette: Palette, wanted: re.Pattern[str] | None, *, here: bool) -> Line:
    marks: list[tuple[int, int, Style]] = []
    for found in _TROUBLE.finditer(text):
        marks.append((found.start(), found.end(), palette.bad if found["bad"] else palette.warn))
    if wanted is not None:
        hit = palette.found_here if here else palette.found
        spans = [(found.start(), found.end(), hit) for found in wanted.finditer(text)]
        marks = [mark for mark in marks if all(mark[1] <= s or mark[0] >= e for s, e, _ in spans)] + spans
    if not marks:
        return ((text, palette.text),)
    line: list[tuple[str, Style]] = []
    at = 0
    for start, end, style in sorted(marks, key=lambda mark: mark[0]):
        line += [(text[at:start], palette.text), (text[start:end], style)]
        at = end
    return (*line, (text[at:], palette.text))
