"""Which frames of a film are taken: pure arithmetic over the times of its frames."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Sampling:
    """Every so many frames, or so many a second; one of the two. Seconds as exact numbers."""

    every_n: int | None = None
    fps: Fraction | None = None
    start: Fraction = Fraction(0)
    end: Fraction | None = None


def choose_frames(times: Sequence[Fraction], sampling: Sampling, tick: Fraction) -> list[int]:
    """Numbers of the frames, ascending. times: in the order of showing. tick: the precision of the film's clock.

    The segment holds frames with start <= time < end. every_n counts from its first frame. At a rate, the moments
    are start, start + 1/fps, …, and each takes the first frame that is not before it; a frame is taken once, however
    high the rate.
    """
    first = bisect_left(times, sampling.start)
    last = len(times) if sampling.end is None else bisect_left(times, sampling.end)
    if sampling.every_n is not None:
        return list(range(first, last, sampling.every_n))
    assert sampling.fps is not None
    chosen: list[int] = []
    due = sampling.start
    for number in range(first, last):
        if times[number] >= due - tick:
            chosen.append(number)
            passed = (times[number] + tick - sampling.start) * sampling.fps
            due = sampling.start + Fraction(passed.__floor__() + 1) / sampling.fps
    return chosen
