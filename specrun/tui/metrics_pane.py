"""The Metrics tab: a chart for every metric, last time's curve dotted beside this one's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType

from specrun.tui.line_pane import LinePane, line_width, right_aligned
from specrun.tui.palette import Line
from specrun.tui.plot import Cell, Chart, chart
from specrun.views.facts import lower_is_better, scores
from specrun.views.node_view import NodeView
from specrun.views.quantities import number
from specrun.views.series import Series
from specrun.views.text import cells, clean, clip, pad

Previous = Mapping[str, Sequence[tuple[float, float]]]

MIN_CHART_WIDTH = 34
GUTTER = 8

_SCORE = re.compile(r"map|iou|acc|dice|f1|precision|recall|psnr|score|auc|metrics/", re.IGNORECASE)
_HELD_OUT = re.compile(r"\b(?:val|valid|validation|test|eval)", re.IGNORECASE)
_SETTING = re.compile(r"(?:^|/)(?:lr|learning_rate|momentum|weight_decay|epoch|grad_norm)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Key:
    """What a drawn chart depends on; while it stays the same nothing is drawn again."""

    address: str
    width: int
    height: int
    single: str
    counts: tuple[tuple[str, int], ...]
    facts: int


class MetricsPane(LinePane, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "up", show=False),
        Binding("down,j", "scroll_down", "down", show=False),
        Binding("pageup", "page_up", "page up", show=False),
        Binding("pagedown", "page_down", "page down", show=False),
        Binding("enter", "enlarge", "one large, or all"),
        Binding("left,h", "turn(-1)", "previous metric", show=False),
        Binding("right,l", "turn(1)", "next metric", show=False),
    ]

    def __init__(self, previous: Callable[[str], Mapping[str, Any]] | None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._load_previous = previous
        self._previous: dict[str, Previous] = {}
        """By address, as far as they were asked for."""
        self._address: str | None = None
        self._drawn: _Key | None = None
        self._node: NodeView | None = None
        self.single = ""
        """The one metric that is shown large."""

    @property
    def legend(self) -> str:
        """What the dots beside the curves are, when there are any."""
        return "⋯ the run before" if self._node is not None and self._previous.get(self._address or "") else ""

    def show_node(self, node: NodeView | None) -> None:
        address = node.address.text if node is not None else ""
        if address != self._address:
            self._address, self.single = address, ""
            if self._load_previous is not None and address and address not in self._previous:
                self._previous[address] = {}
                self.run_worker(self._fetch_previous(address))
            self.scroll_to(y=0, animate=False, immediate=True, force=True)
        self._node = node
        counts = tuple((name, series.count) for name, series in node.metrics.items()) if node else ()
        key = _Key(address, self.inner_width, self.size.height, self.single, counts, len(node.facts) if node else 0)
        if key != self._drawn:
            self._drawn = key
            self.show_items(self._lines(node))

    def repaint(self) -> None:
        self._drawn = None
        self._palette = None
        self.show_node(self._node)
        super().repaint()

    def on_resize(self) -> None:
        self.show_node(self._node)

    def action_enlarge(self) -> None:
        moving, still = moving_first(self._node.metrics) if self._node else ([], [])
        names = [*moving, *still]
        self.single = "" if self.single or not names else names[0]
        self.show_node(self._node)

    def action_turn(self, by: int) -> None:
        moving, still = moving_first(self._node.metrics) if self._node else ([], [])
        names = [*moving, *still]
        if self.single in names:
            self.single = names[(names.index(self.single) + by) % len(names)]
            self.show_node(self._node)

    async def _fetch_previous(self, address: str) -> None:
        """In a thread: the journals of earlier runs may be long."""
        if self._load_previous is not None:
            curves = await asyncio.to_thread(self._load_previous, address)
            self._previous[address] = _cleaned(curves)
            self._drawn = None
            self.show_node(self._node)

    def _lines(self, node: NodeView | None) -> list[Line]:
        if node is None or not node.metrics:
            return self._without_curves(node)
        names = [self.single]
        still: list[str] = []
        if self.single not in node.metrics:
            names, still = moving_first(node.metrics)
        if not names:
            return self._constants(node, still)
        columns = max(1, min(len(names), self.inner_width // MIN_CHART_WIDTH))
        # As many in the last row as in the others, as far as that goes: the charts are wider for it.
        columns = -(-len(names) // -(-len(names) // columns))
        width = self.inner_width // columns
        height = self._chart_height(len(names), columns)
        lines: list[Line] = []
        for begin in range(0, len(names), columns):
            row = names[begin : begin + columns]
            blocks = [self._block(name, node.metrics[name], begin + i, width, height) for i, name in enumerate(row)]
            lines += [tuple(span for block in blocks for span in block[i]) for i in range(len(blocks[0]))]
        return [*lines, *self._constants(node, still)]

    def _constants(self, node: NodeView, names: Sequence[str]) -> list[Line]:
        """Metrics without a curve yet: a line each."""
        width = max((cells(clean(name)) for name in names), default=0)
        values = [(name, node.metrics[name].last) for name in names]
        return [
            ((f"  {pad(clean(name), width)}", self.palette.dim), (f"  {number(last[1])}", self.palette.bold))
            for name, last in values
            if last is not None
        ]

    def _without_curves(self, node: NodeView | None) -> list[Line]:
        """Scores that were measured once, such as those of an evaluation, have no curve."""
        measured = scores(node.facts) if node is not None else {}
        if measured:
            width = max(cells(name) for name in measured)
            palette = self.palette
            return [
                (),
                *(
                    ((f"  {pad(name, width)}", palette.dim), (f"  {number(value)}", palette.bold))
                    for name, value in measured.items()
                ),
            ]
        if node is None:
            text = "select a node to see its metrics"
        else:
            text = f"{node.address.text} has reported no metrics" if node.state.settled else "no metrics yet"
        return [(), ((f"  {text}", self.palette.dim),)]

    def _chart_height(self, amount: int, columns: int) -> int:
        """As high as lets all of them fit, but never so low that a curve is a smear."""
        rows = -(-amount // columns)
        return max(5, min(24, self.size.height // rows - 2))

    def _block(self, name: str, series: Series, index: int, width: int, height: int) -> list[Line]:
        """A title line, the drawing with its axis, the steps below."""
        before = self._previous.get(self._address or "", {}).get(name, ())
        curve = self.palette.curves[index % len(self.palette.curves)]
        drawn = chart((series.points, before), width - GUTTER - 2, height)
        lines = [self._title(name, series, before, width, curve)]
        lines += [self._row(drawn, row, cells_of_row, curve) for row, cells_of_row in enumerate(drawn.rows)]
        lines.append(self._steps(drawn, width))
        return [_filled(line, width) for line in lines]

    def _title(self, name: str, series: Series, before: Sequence[Any], width: int, curve: Style) -> Line:
        palette = self.palette
        last = number(series.last[1]) if series.last else ""
        best = series.best_low if lower_is_better(name) else series.best_high
        right: list[tuple[str, Style]] = [(last, palette.bold)]
        if best is not None and series.count > 1 and "lr" not in name.split("/")[0]:
            right.append((f"  best {number(best[1])}", palette.dim))
        if before and width >= 44:
            right.append((f"  was {number(before[-1][1])}", palette.faint))
        while len(right) > 1 and line_width(tuple(right)) + min(cells(name), 18) + 6 > width:
            right.pop()
        room = width - 2 - line_width(tuple(right)) - 4
        left: Line = ((" ", Style()), ("━ ", curve), (clip(name, max(6, room)), palette.text))
        return right_aligned(left, tuple(right), width - 2)

    def _row(self, drawn: Chart, row: int, row_cells: Sequence[Cell], curve: Style) -> Line:
        palette, last = self.palette, len(drawn.rows) - 1
        label = drawn.high if row == 0 else drawn.low if row == last else drawn.middle if row == last // 2 else ""
        edge = "┤" if label else "│"
        line: list[tuple[str, Style]] = [
            (f"{clip(label, GUTTER - 1):>{GUTTER - 1}}", palette.dim),
            (edge, palette.track),
        ]
        for text, which in _runs(row_cells):
            line.append((text, curve if which == 0 else palette.dim if which > 0 else Style()))
        return tuple(line)

    def _steps(self, drawn: Chart, width: int) -> Line:
        palette = self.palette
        inside = width - GUTTER - 2
        gap = inside - len(drawn.first) - len(drawn.last)
        if gap < 1:
            return ()
        text = f"{drawn.first}{' ' * gap}{drawn.last}"
        return ((" " * GUTTER, Style()), (text, palette.faint))


def moving_first(metrics: Mapping[str, Series]) -> tuple[list[str], list[str]]:
    """Those that have a curve, and those with one value so far; both by interest."""
    names = by_interest(metrics)
    moving = [name for name in names if _moves(metrics[name])]
    return moving, [name for name in names if name not in moving]


def _moves(series: Series) -> bool:
    low, high = series.best_low, series.best_high
    return low is not None and high is not None and low[1] != high[1]


def by_interest(names: Iterable[str]) -> list[str]:
    """Scores first, then losses on held-out data, losses on training data, and last what is only set."""
    return sorted(names, key=_interest)


def _interest(name: str) -> int:
    if _SETTING.search(name):
        return 3
    if lower_is_better(name):
        return 1 if _HELD_OUT.search(name) else 2
    return 0 if _SCORE.search(name) else 2


def _runs(row: Sequence[Cell]) -> list[tuple[str, int]]:
    runs: list[tuple[str, int]] = []
    for cell in row:
        if runs and runs[-1][1] == cell.curve:
            runs[-1] = (runs[-1][0] + cell.character, cell.curve)
        else:
            runs.append((cell.character, cell.curve))
    return runs


def _filled(line: Line, width: int) -> Line:
    return (*line, (" " * max(0, width - line_width(line)), Style()))


def _cleaned(curves: Mapping[str, Any]) -> Previous:
    return {
        clean(name): tuple((float(step), float(value)) for step, value in points) for name, points in curves.items()
    }
