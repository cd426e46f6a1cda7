"""The left side: the run, its sections, and the nodes in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType

from specrun.tui.gauges import bar
from specrun.tui.line_pane import LinePane, right_aligned
from specrun.tui.messages import NodeChosen, NodeEntered
from specrun.tui.palette import Line, Span
from specrun.tui.titles import set_subtitle
from specrun.tui.tree_rows import RUN_KEY, Row, RowSort, Show, Wish, fold, tree_rows
from specrun.views.node_view import NodeState
from specrun.views.run_view import RunView
from specrun.views.text import clip, clip_address

SMALL_MATRIX = 8
WIDE = 54
MIDDLE = 40


class NodeTree(LinePane, can_focus=True):
    """Keeps its cursor on the same node however the rows move. Until somebody moves it, it goes
    where something happens: to what runs, or to what failed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home,g", "move(-1000000)", "first", show=False),
        Binding("end,G", "move(1000000)", "last", show=False),
        Binding("enter", "enter", "open", tooltip="open the tab, or fold the group"),
        Binding("space", "fold", "fold", show=False),
        Binding("left,h", "close", "close, or go to the group", show=False),
        Binding("right,l", "open", "open, or go to the tab", show=False),
        Binding("r", "show('only running')", "running", tooltip="only what runs, or all again"),
        Binding("f", "show('only failed')", "failed", tooltip="only what failed, or all again"),
        Binding("a", "show_all", "all", tooltip="everything: no filter"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.wish = Wish()
        self.cursor_key = RUN_KEY
        self.led = True
        """The cursor leads itself; false once a person moved it."""
        self._shown = RunView()
        self._shown_at = 0.0

    @property
    def rows(self) -> Sequence[Row]:
        return self.items

    def show_run(self, view: RunView, now: float) -> None:
        self._shown, self._shown_at = view, now
        self.show_items(tree_rows(view, self.wish, now))
        if self.led:
            self._lead()
        self._subtitle()

    def rewish(self, wish: Wish) -> None:
        """Another filter or other folds; the cursor stays near where it was."""
        index = self._cursor_index()
        self.wish = wish
        self.show_items(tree_rows(self._shown, wish, self._shown_at))
        if all(row.key != self.cursor_key for row in self.rows):
            self._choose(min(index, len(self.rows) - 1))
        self._subtitle()
        self.refresh()

    def reveal(self, address: str) -> None:
        """Moves to a node wherever it is: filters go, its matrix opens."""
        self.led = False
        node = self._shown.of(address)
        if node is None:
            return
        self.wish = Wish(self.wish.folded - {node.address.section}, self.wish.unfolded | {node.address.base.text})
        self.rewish(self.wish)
        for index, row in enumerate(self.rows):
            if row.key == address and row.sort is RowSort.NODE:
                self._choose(index)

    def draw(self, item: Any, index: int, width: int) -> Line:
        row: Row = item
        if row.sort is RowSort.NODE:
            return self._draw_node(row, width)
        return self._draw_group(row, width)

    def background(self, index: int) -> Style | None:
        if self.rows[index].key != self.cursor_key:
            return None
        return self.palette.chosen if self.has_focus else self.palette.chosen_blurred

    def _draw_node(self, row: Row, width: int) -> Line:
        style = self.palette.of_state(row.state)
        quiet = row.state in (NodeState.UNCHANGED, NodeState.SKIPPED, NodeState.QUEUED)
        right = self._columns(row, width)
        room = width - 1 - row.depth * 2 - 2 - sum(len(text) for text, _ in right) - 1
        label = clip_address(row.label, max(4, room))
        bold = row.state in (NodeState.RUNNING, NodeState.FAILED)
        name = self.palette.dim if quiet else self.palette.bold if bold else self.palette.text
        left: Line = ((" " * (1 + row.depth * 2), Style()), (f"{row.sign} ", style), (label, name))
        return right_aligned(left, right, width - 1)

    def _columns(self, row: Row, width: int) -> Line:
        """bar, percent, elapsed and time left, as many as the width allows; only what runs has the first two."""
        palette = self.palette
        left = row.left
        wide = width >= WIDE
        line: list[Span] = []
        if row.note:
            return ((clip(row.note, max(6, width // 3)), palette.wait),)
        if row.fraction is not None:
            line += self._bar(row.fraction, 12 if width >= WIDE + 8 else 9 if wide else 6 if width >= MIDDLE else 0)
            line.append((f" {row.percent:>4} ", palette.busy))
        if wide:
            line.append((f"{row.elapsed:>8}", palette.text if row.state is NodeState.RUNNING else palette.dim))
            line.append((f"{left:>8}", palette.accent))
        elif left:
            line.append((f"{left:>7}", palette.accent))
        elif row.elapsed:
            line.append((f"{row.elapsed:>7}", palette.dim))
        return tuple(line)

    def _bar(self, fraction: float, width: int) -> Line:
        done, rest = bar(fraction, width)
        return ((done, self.palette.busy), (rest, self.palette.track))

    def _draw_group(self, row: Row, width: int) -> Line:
        palette = self.palette
        if row.sort is RowSort.RUN:
            return ((f" {row.sign} ", palette.of_state(row.state)), (clip(row.label, width - 4), palette.bold))
        mark = "▾ " if row.open else "▸ "
        amounts: list[Span] = []
        for state, amount in row.amounts:
            amounts.append((f" {amount}{state.sign}", palette.of_state(state)))
        if row.sort is RowSort.SECTION:
            left: Line = ((" ", Style()), (mark, palette.dim), (clip(row.label, width - 12), palette.title))
        else:
            label = clip(f"{row.label}", width - 16)
            total = sum(amount for _, amount in row.amounts)
            left = (
                (" " * (1 + row.depth * 2 - 2), Style()),
                (mark, palette.dim),
                (f"{row.sign} ", palette.of_state(row.state)),
                (label, palette.text),
                (f" ×{total}", palette.dim),
            )
        if row.fraction is not None and row.sort is RowSort.MATRIX and width >= MIDDLE:
            amounts = [*self._bar(row.fraction, 6), (f" {row.fraction:4.0%}  ", palette.busy), *amounts]
        return right_aligned(left, tuple(amounts), width - 1)

    def _lead(self) -> None:
        """To the first running node, else to the first that failed, else stay. A small matrix opens for it."""
        here = self._shown.of(self.cursor_key)
        if here is not None and here.state is NodeState.RUNNING:
            return
        nodes = self._shown.nodes.values()
        found = next((node for node in nodes if node.state is NodeState.RUNNING), None)
        found = found or next((node for node in nodes if node.state is NodeState.FAILED), None)
        if found is None or found.address.text == self.cursor_key:
            return
        base = found.address.base
        if found.address.instance and sum(node.address.base == base for node in nodes) <= SMALL_MATRIX:
            self.wish = replace(self.wish, unfolded=self.wish.unfolded | {base.text})
            self.show_items(tree_rows(self._shown, self.wish, self._shown_at))
        for index, row in enumerate(self.rows):
            if row.key == found.address.text and row.sort is RowSort.NODE:
                self._choose(index)
                return

    def _choose(self, index: int) -> None:
        index = max(0, min(index, len(self.rows) - 1))
        row = self.rows[index]
        if row.key == self.cursor_key:
            return
        before = self._cursor_index()
        self.cursor_key = row.key
        for changed in (before, index):
            self._refresh_row(changed - self.scroll_offset.y)
        self._bring_into_view(index)
        if row.sort in (RowSort.NODE, RowSort.RUN):
            self.post_message(NodeChosen(row.key))

    def _bring_into_view(self, index: int) -> None:
        top, height = self.scroll_offset.y, max(1, self.size.height)
        if index < top:
            self.scroll_to(y=index, animate=False, immediate=True, force=True)
        elif index >= top + height:
            self.scroll_to(y=index - height + 1, animate=False, immediate=True, force=True)

    def _cursor_index(self) -> int:
        return next((index for index, row in enumerate(self.rows) if row.key == self.cursor_key), 0)

    @property
    def _cursor_row(self) -> Row | None:
        return next((row for row in self.rows if row.key == self.cursor_key), None)

    def _subtitle(self) -> None:
        said = [f"/{self.wish.text}"] if self.wish.text else []
        if self.wish.show is not Show.ALL:
            said.append(self.wish.show)
        if self.wish.narrowed and not any(row.sort is RowSort.NODE for row in self.rows):
            said.append("nothing")
        set_subtitle(self, " · ".join(said))

    def _on_focus(self, event: events.Focus) -> None:
        super()._on_focus(event)
        self.refresh()

    def _on_blur(self, event: events.Blur) -> None:
        super()._on_blur(event)
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        index = event.y - self.gutter.top + self.scroll_offset.y
        if not 0 <= index < len(self.rows):
            return
        self.led = False
        again = self.rows[index].key == self.cursor_key
        self._choose(index)
        if self.rows[index].open is not None:
            self.action_fold()
        elif again and event.chain > 1:
            self.post_message(NodeEntered())

    def action_move(self, by: int) -> None:
        self.led = False
        self._choose(self._cursor_index() + by)

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - 1))

    def action_enter(self) -> None:
        row = self._cursor_row
        if row is not None and row.open is not None:
            self.action_fold()
        else:
            self.post_message(NodeEntered())

    def action_fold(self) -> None:
        row = self._cursor_row
        if row is not None:
            self.rewish(fold(self.wish, row))

    def action_close(self) -> None:
        row = self._cursor_row
        if row is None:
            return
        if row.open:
            self.action_fold()
            return
        index = self._cursor_index()
        for above in range(index - 1, -1, -1):
            if self.rows[above].depth < row.depth:
                self.action_move(above - index)
                return

    def action_open(self) -> None:
        row = self._cursor_row
        if row is not None and row.open is False:
            self.action_fold()
        elif row is not None and row.open is None:
            self.post_message(NodeEntered())

    def action_show(self, what: str) -> None:
        wanted = Show(what)
        show = Show.ALL if self.wish.show is wanted else wanted
        self.rewish(Wish(self.wish.folded, self.wish.unfolded, self.wish.text, show))

    def action_show_all(self) -> None:
        self.rewish(Wish(self.wish.folded, self.wish.unfolded))

    def filter(self, text: str) -> None:
        self.rewish(Wish(self.wish.folded, self.wish.unfolded, text, self.wish.show))
