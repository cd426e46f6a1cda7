"""Closing by itself a while after the end, unless somebody is there."""

from __future__ import annotations

from collections.abc import Callable

CLOSE_AFTER_S = 10.0


class Closing:
    """wanted: whether it should close at all. Any key or click while it counts says stay."""

    def __init__(self, clock: Callable[[], float], *, wanted: bool) -> None:
        self._clock = clock
        self._wanted = wanted
        self._at: float | None = None

    def begin(self) -> None:
        """The run is over."""
        if self._wanted:
            self._at = self._clock() + CLOSE_AFTER_S

    def stay(self) -> None:
        if self._at is not None:
            self._wanted, self._at = False, None

    @property
    def due(self) -> bool:
        return self._at is not None and self._clock() >= self._at

    @property
    def notice(self) -> str:
        """For the header; "" when it does not close."""
        return "" if self._at is None else f"closes in {max(0, round(self._at - self._clock()))} s, any key stays"
