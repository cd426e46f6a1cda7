"""How long a node will still take: from the units it finished, its history and the plan's estimate."""

from __future__ import annotations

import re
from collections import deque

_STEPPED_PHASE = re.compile(r"(?:^|\s)(\d+)\s*/\s*(\d+)\b")
_RECENT = 6
_TRUST_AT = 0.25


def overall_fraction(done: float, total: float | None, phase: str) -> float | None:
    """How much of a node is done, 0 to 1; None: not known.

    A phase such as `epoch 3/40` around batches counts the finished epochs and the batches of this one.
    """
    stepped = _STEPPED_PHASE.search(phase)
    if stepped:
        step, steps = int(stepped[1]), int(stepped[2])
        if steps > 0 and total != steps:
            inside = _share(done, total) or 0.0
            return _clamp((step - 1 + inside) / steps)
    return _share(done, total)


def _share(done: float, total: float | None) -> float | None:
    return _clamp(done / total) if total else None


def _clamp(value: float) -> float:
    return min(1.0, max(0.0, value))


class Pace:
    """Follows one node's progress. Times are seconds since the epoch.

    The speed comes from whole steps that were finished lately (epochs, batches), not from the last
    minute: one epoch of an hour must not let the estimate run away, and the first, which compiles
    and fills caches, counts only until there are others.
    """

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque(maxlen=_RECENT)

    def restart(self, time: float) -> None:
        self._marks.clear()
        self._marks.append((time, 0.0))

    def report(self, time: float, fraction: float | None) -> None:
        if fraction is None:
            return
        if self._marks and fraction < self._marks[-1][1]:
            self.restart(time)
            return
        if not self._marks or fraction > self._marks[-1][1]:
            gap = fraction - self._marks[-1][1] if self._marks else 0.0
            # Batches come in hundreds: keep marks at least one percent apart, or the window is seconds long.
            if len(self._marks) < 2 or gap >= 0.01:
                self._marks.append((time, fraction))

    def remaining(self, now: float) -> float | None:
        """Seconds left by the speed of late; None: no step was finished yet."""
        marks = list(self._marks)
        if len(marks) > 3:
            marks = marks[1:]
        if len(marks) < 2:
            return None
        (first, low), (last, high) = marks[0], marks[-1]
        if high <= low or last <= first:
            return None
        seconds = (1.0 - high) * (last - first) / (high - low)
        return max(0.0, seconds - max(0.0, now - last))


def blend(elapsed: float, fraction: float | None, paced: float | None, expected: float | None) -> float | None:
    """Seconds left, from what was measured now and what was expected beforehand (history or plan).

    Early on the expectation leads, from a quarter of the way the measurement alone.
    """
    if expected is None:
        return paced
    foreseen = max(0.0, expected - elapsed)
    if paced is None:
        # Beyond what was expected and without any progress: saying "0 s left" would be a lie.
        return foreseen if foreseen > 0 else None
    trust = min(1.0, (fraction or 0.0) / _TRUST_AT)
    return trust * paced + (1.0 - trust) * (foreseen or paced)
