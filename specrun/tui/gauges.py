"""Bars and sparklines as plain text: functions of numbers and a width."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"


def bar(fraction: float, width: int) -> tuple[str, str]:
    """A thin bar in two pieces, done and rest: `━━━╸` and `─────`.

    The pieces differ in shape, not only in colour: a terminal without colours shows it too.
    """
    if width <= 0:
        return "", ""
    halves = round(min(1.0, max(0.0, fraction)) * width * 2)
    if fraction > 0 and halves == 0:
        halves = 1
    if fraction < 1 and halves == width * 2:
        halves -= 1
    done = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return done, "─" * (width - len(done))


def sparkline(values: Sequence[float], width: int, *, low: float = 0.0, high: float = 100.0) -> str:
    """The last `width` values as blocks, right-aligned; what lies outside the range is clamped."""
    if width <= 0:
        return ""
    span = (high - low) or 1.0
    steps = len(_BLOCKS) - 1
    recent = list(values)[-width:]
    drawn = [_BLOCKS[round(min(1.0, max(0.0, (value - low) / span)) * steps)] for value in recent]
    return " " * (width - len(drawn)) + "".join(drawn)
