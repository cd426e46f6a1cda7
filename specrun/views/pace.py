"""How long a node will still take: from the units it finished, its history and the plan's estimate."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections import deque

_STEPPED_PHASE = re.compile(r"(?:^|\s)(\d+)\s*/\s*(\d+)\b")
_RECENT = 6
_LONG_STEP_S = 60.0
"""Of a step that takes this long a part is measured; shorter ones are waited for."""
_SHORT_STEP_S = 10.0
"""In less than this fewer than three steps say too little."""
_PART_OF_STEP = 0.2
_PART_OF_WHOLE = 0.02
_WORTH_MEASURING_S = 3.0
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


def steps_of(total: float | None, unit: str, phase: str) -> int | None:
    """Into how many equal pieces the phase or the unit divides the whole; None: into none."""
    stepped = _STEPPED_PHASE.search(phase)
    if stepped and int(stepped[2]) > 0:
        return int(stepped[2])
    return int(total) if total and unit.startswith("epoch") else None


def _share(done: float, total: float | None) -> float | None:
    return _clamp(done / total) if total else None


def _clamp(value: float) -> float:
    return min(1.0, max(0.0, value))


class Pace:
    """Follows one node's progress. Times are seconds since the epoch.

    With epochs (steps) the speed is the typical time from one whole epoch to the next, validation and
    saving included: within an epoch the batches run ahead of what they are part of, and the first
    epoch, which compiles and fills caches, counts only while there is no other. Without steps the
    speed comes from the last few marks, at least a percent apart. Nothing is said before it means something.
    """

    __slots__ = ("_fraction", "_marks", "_measured", "_start", "_steps")

    def __init__(self) -> None:
        self._steps = 0
        self._start = (0.0, 0.0)
        """Time and fraction at the first report; a resumed training does not begin at 0."""
        self._fraction = 0.0
        self._measured = True
        self._marks: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        """Time and what was done then: whole steps, or a fraction."""

    def restart(self, time: float) -> None:
        self._steps, self._fraction, self._start = 0, 0.0, (time, 0.0)
        self._measured = True
        self._marks.clear()
        self._marks.append((time, 0.0))

    def report(self, time: float, fraction: float | None, steps: int | None = None) -> None:
        """fraction: None in a phase of unknown length, such as loading a model: it says nothing of the speed of what
        follows. steps: how many equal pieces the whole has, such as epochs."""
        if fraction is None:
            self._measured = False
            return
        if not self._measured and not self._steps:
            self._marks.clear()
        self._measured = True
        if fraction < self._fraction:
            self.restart(time)
        if steps and steps != self._steps:
            self._steps, self._start = steps, (time, fraction)
            self._marks.clear()
        self._fraction = fraction
        if self._steps:
            self._mark_step(time, fraction)
        elif not self._marks or fraction - self._marks[-1][1] >= (0.01 if len(self._marks) > 1 else 1e-9):
            self._marks.append((time, fraction))

    def remaining(self, now: float) -> float | None:
        """Seconds left by the speed of late; None: it is too early to say."""
        return self._by_steps(now) if self._steps else self._by_share(now)

    def _mark_step(self, time: float, fraction: float) -> None:
        whole = math.floor(fraction * self._steps + 1e-6)
        last = self._marks[-1][1] if self._marks else math.floor(self._start[1] * self._steps + 1e-6)
        if whole > last:
            self._marks.append((time, float(whole)))

    def _by_steps(self, now: float) -> float | None:
        began, fraction = self._start
        marks = list(self._marks)
        if len(marks) >= 2:
            if len(marks) < 4 and marks[-1][0] - marks[0][0] < _SHORT_STEP_S:
                return None
            pairs = itertools.pairwise(marks)
            step_s = statistics.median((later - time) / (done - before) for (time, before), (later, done) in pairs)
        else:
            last, done = marks[0] if marks else (now, self._fraction * self._steps)
            inside = done - fraction * self._steps
            if inside < _PART_OF_STEP or last - began < _LONG_STEP_S:
                return None
            step_s = (last - began) / inside
            if not marks:
                return (1.0 - self._fraction) * self._steps * step_s
        last, done = marks[-1]
        # An epoch that takes longer than the others holds the time still; it does not run to zero.
        return (self._steps - done) * step_s - min(max(0.0, now - last), step_s if done < self._steps else 0.0)

    def _by_share(self, now: float) -> float | None:
        marks = list(self._marks)
        if len(marks) > 3:
            marks = marks[1:]
        if len(marks) < 2:
            return None
        (first, low), (last, high) = marks[0], marks[-1]
        if high - low < _PART_OF_WHOLE or last - first < _WORTH_MEASURING_S:
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
    trust = min(1.0, (fraction or 0.0) / _TRUST_AT) ** 2
    return trust * paced + (1.0 - trust) * (foreseen or paced)
