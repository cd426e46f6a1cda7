"""A metric's values over its steps, bounded however long the training."""

from __future__ import annotations

MAX_POINTS = 1024


class Series:
    """Points (step, value) in the order of arrival, at most `limit`.

    When full, neighbours are merged two by two and from then on every point stands for twice as
    many values; of a merged pair the value farther from the one before survives, so that spikes
    stay visible. The last value is always exact.
    """

    __slots__ = ("_fill", "_group", "_limit", "best_high", "best_low", "count", "last", "points")

    def __init__(self, limit: int = MAX_POINTS) -> None:
        self._limit = limit
        self._group = 1
        self._fill = 0
        self.points: list[tuple[float, float]] = []
        self.count = 0
        self.last: tuple[float, float] | None = None
        self.best_low: tuple[float, float] | None = None
        """(step, value) of the smallest value."""
        self.best_high: tuple[float, float] | None = None

    def append(self, step: float, value: float) -> None:
        point = (step, value)
        self.count += 1
        self.last = point
        if self.best_low is None or value < self.best_low[1]:
            self.best_low = point
        if self.best_high is None or value > self.best_high[1]:
            self.best_high = point
        self._place(point)

    def _place(self, point: tuple[float, float]) -> None:
        if self._fill == 0 or not self.points:
            self.points.append(point)
            self._fill = 1
        else:
            before = self.points[-2] if len(self.points) > 1 else self.points[-1]
            self.points[-1] = _farther(before[1], self.points[-1], point)
            self._fill += 1
        if self._fill >= self._group:
            self._fill = 0
        if len(self.points) >= self._limit:
            self._halve()

    def _halve(self) -> None:
        merged: list[tuple[float, float]] = []
        for index in range(0, len(self.points) - 1, 2):
            before = merged[-1][1] if merged else self.points[0][1]
            merged.append(_farther(before, self.points[index], self.points[index + 1]))
        if len(self.points) % 2:
            merged.append(self.points[-1])
        self.points = merged
        self._group *= 2
        self._fill = 0


def _farther(reference: float, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a if abs(a[1] - reference) > abs(b[1] - reference) else b
