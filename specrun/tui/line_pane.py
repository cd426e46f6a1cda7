"""The base of every pane: lines of styled text, drawn a line at a time and only where they changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from specrun.tui.messages import PlaceOpened
from specrun.tui.palette import Line, Palette, palette
from specrun.views.text import cells


class LinePane(ScrollView):
    """Shows items, one a line. Subclasses say how an item is drawn; here an item is a Line already.

    Text never passes through markup: a line is (text, style) pairs, so that a label named
    `[@click=…]` is just that.
    """

    DEFAULT_CSS = "LinePane { overflow-x: hidden; scrollbar-size-vertical: 1; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._items: Sequence[Any] = ()
        self._palette: Palette | None = None

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.repaint())

    @property
    def palette(self) -> Palette:
        if self._palette is None:
            self._palette = palette(self.app.current_theme)
        return self._palette

    @property
    def inner_width(self) -> int:
        """Columns for text; `size` counts the scrollbar too."""
        return self.scrollable_content_region.width

    @property
    def items(self) -> Sequence[Any]:
        return self._items

    def show_items(self, items: Sequence[Any]) -> None:
        """Data down. Refreshes the visible lines whose item changed, and nothing when none did."""
        before, self._items = self._items, items
        if len(items) != len(before):
            self.virtual_size = Size(self._virtual_width(), len(items))
        top, height = self.scroll_offset.y, self.size.height
        for y in range(top, top + height):
            old = before[y] if y < len(before) else None
            new = items[y] if y < len(items) else None
            if old != new:
                self._refresh_row(y - top)

    def repaint(self) -> None:
        """Everything anew: another theme, another width, another selection."""
        self._palette = None
        self.refresh()

    def draw(self, item: Any, index: int, width: int) -> Line:
        """One line; it is clipped to the width afterwards."""
        line: Line = item
        return line

    def background(self, index: int) -> Style | None:
        """Laid under the whole line, for example of the selected row."""
        return None

    def render_line(self, y: int) -> Strip:
        width = self.inner_width
        index = y + self.scroll_offset.y
        base = self.rich_style
        if index >= len(self._items):
            return Strip.blank(width, base)
        under = self.background(index)
        style = base + under if under else base
        # Reversed, every colour of the line would be another background: a patchwork.
        plain = under is not None and bool(under.reverse)
        spans = self.draw(self._items[index], index, width)
        segments = [Segment(text, style if plain else style + span) for text, span in spans if text]
        strip = Strip(segments).adjust_cell_length(width, style)
        strip = self._with_selection(strip, index)
        return strip.apply_offsets(0, index)

    def on_click(self, event: events.Click) -> None:
        """A link opens. (Subclasses answer clicks of their own as well.)"""
        link = event.style.link
        if link:
            self.post_message(PlaceOpened(link))

    def plain_lines(self) -> list[str]:
        """The text of all lines, for copying."""
        width = max(self.inner_width, 1)
        return [
            "".join(text for text, _ in self.draw(item, index, width)).rstrip()
            for index, item in enumerate(self._items)
        ]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(self.plain_lines())), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def _virtual_width(self) -> int:
        return max(1, self.inner_width)

    def _refresh_row(self, y: int) -> None:
        self.refresh(Region(0, y, self.inner_width, 1))

    def _with_selection(self, strip: Strip, index: int) -> Strip:
        selection = self.text_selection
        span = selection.get_span(index) if selection is not None else None
        if span is None:
            return strip
        start, end = span
        end = strip.cell_length if end == -1 else end
        chosen = self.screen.get_component_rich_style("screen--selection")
        before, inside, after = strip.crop(0, start), strip.crop(start, end), strip.crop(end)
        marked = Strip([Segment(text, (style or Style()) + chosen) for text, style, _ in inside])
        return Strip.join([before, marked, after])


def line_width(line: Line) -> int:
    return sum(cells(text) for text, _ in line)


def right_aligned(left: Line, right: Line, width: int) -> Line:
    """Left part, then the right part at the edge; without room for both the left part alone."""
    gap = width - line_width(left) - line_width(right)
    return (*left, (" " * gap, Style()), *right) if gap >= 1 else left
