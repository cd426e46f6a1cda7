"""Curves in braille: two dots across and four down in every cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from specrun.views.quantities import number

Points = Sequence[tuple[float, float]]

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800


@dataclass(slots=True)
class Grid:
    """Dots of one curve: cell (row, column) → bit mask."""

    width: int
    height: int
    cells: dict[tuple[int, int], int] = field(default_factory=dict)

    def dot(self, x: int, y: int) -> None:
        """x grows to the right, y upwards, in dots."""
        if 0 <= x < self.width * 2 and 0 <= y < self.height * 4:
            row, line = divmod(self.height * 4 - 1 - y, 4)
            column, side = divmod(x, 2)
            key = (row, column)
            self.cells[key] = self.cells.get(key, 0) | _DOTS[line][side]

    def line(self, x0: int, y0: int, x1: int, y1: int, *, every: int = 1) -> None:
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(0, steps + 1, every):
            self.dot(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps))

    def thicken(self) -> None:
        """Every dot gets one above it: a single row of braille dots is hard to see."""
        for y in range(self.height * 4 - 2, -1, -1):
            for x in range(self.width * 2):
                if self._has(x, y):
                    self.dot(x, y + 1)

    def _has(self, x: int, y: int) -> bool:
        row, line = divmod(self.height * 4 - 1 - y, 4)
        column, side = divmod(x, 2)
        return bool(self.cells.get((row, column), 0) & _DOTS[line][side])


@dataclass(frozen=True, slots=True)
class Cell:
    """curve: which one the dots belong to; -1 for none."""

    character: str
    curve: int


@dataclass(frozen=True, slots=True)
class Chart:
    """rows: from top to bottom. high, low: of the y axis; first, last: of the x axis, as texts."""

    rows: tuple[tuple[Cell, ...], ...]
    high: str
    middle: str
    low: str
    first: str
    last: str


AXIS_CELLS = 7
_EMPTY = Cell(" ", -1)


def chart(curves: Sequence[Points], width: int, height: int) -> Chart:
    """Several curves on common axes; the first is drawn over the others, which are dotted.

    width, height: of the drawing in cells, without axes. Curves may be empty.
    """
    points = [point for curve in curves for point in curve]
    if not points or width <= 0 or height <= 0:
        return Chart(((_EMPTY,) * max(0, width),) * max(0, height), "", "", "", "", "")
    low, high = _range([value for _, value in points])
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    grids = [
        _draw(curve, (first, last), (low, high), Grid(width, height), every=1 if index == 0 else 3)
        for index, curve in enumerate(curves)
    ]
    rows = tuple(tuple(_cell(grids, row, column) for column in range(width)) for row in range(height))
    return Chart(rows, *axis_numbers(low, high), number(first), number(last))


def axis_numbers(low: float, high: float) -> tuple[str, str, str]:
    """At the top, in the middle and at the bottom, with as many digits as tell them apart, where there is room."""
    values = (high, (low + high) / 2, low)
    texts = [tuple(axis_number(value, digits) for value in values) for digits in range(3, 7)]
    fitting = [three for three in texts if max(map(len, three)) <= AXIS_CELLS]
    return next((three for three in fitting if len(set(three)) == 3), (fitting or texts)[-1])  # type: ignore[return-value]


def axis_number(value: float, significant: int = 3) -> str:
    """At most seven cells with three significant digits."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, significant - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(digits, significant + 1)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def _range(values: Sequence[float]) -> tuple[float, float]:
    """With a little air, and never of no height."""
    low, high = min(values), max(values)
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        return low - pad, high + pad
    return low, high


def _draw(points: Points, xs: tuple[float, float], ys: tuple[float, float], grid: Grid, *, every: int) -> Grid:
    width, height = grid.width * 2 - 1, grid.height * 4 - 1
    across = (xs[1] - xs[0]) or 1.0
    up = ys[1] - ys[0]
    before: tuple[int, int] | None = None
    for step, value in points:
        here = round((step - xs[0]) / across * width), round((value - ys[0]) / up * height)
        if before is None:
            grid.dot(*here)
        else:
            grid.line(*before, *here, every=every)
        before = here
    if every == 1:
        grid.thicken()
    return grid


def _cell(grids: Sequence[Grid], row: int, column: int) -> Cell:
    for index, grid in enumerate(grids):
        mask = grid.cells.get((row, column), 0)
        if mask:
            return Cell(chr(_BRAILLE + mask), index)
    return _EMPTY
