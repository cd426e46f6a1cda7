"""Durations, sizes and counts as people write them."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """`0.4 s`, `25 s`, `3 min 12 s`, `41 min`, `2 h 05 min`, `3 d 4 h`."""
    if not math.isfinite(seconds):
        return "?"
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def took(seconds: float, earlier_s: float = 0.0) -> str:
    """`7 min 56 s, 4 min of them before it was interrupted`"""
    before = f", {duration(earlier_s)} of them before it was interrupted" if earlier_s >= 1 else ""
    return duration(seconds) + before


def whole_duration(seconds: float) -> str:
    """The same of whole seconds: `5 s`."""
    return f"{seconds:.0f} s" if seconds < 60 else duration(seconds)


def rough_duration(seconds: float) -> str:
    """For estimates, which are not exact to the second: `under a minute`, `about 41 min`."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 55:
        return f"about {max(5, round(seconds / 5) * 5)} s"
    if seconds < 600:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {duration(round(seconds / 60) * 60)}"


_LEFT_STEPS = ((60, 5), (120, 10), (600, 30), (3600, 60), (86400, 300))
"""Below so many seconds, what is left is told in such steps."""


def _told_left(seconds: float) -> float:
    step = next((step for limit, step in _LEFT_STEPS if seconds < limit), 3600)
    return max(5, round(seconds / step) * step)


def time_left(seconds: float, *, complete: bool) -> str:
    """`about 1 min 30 s left`, `at least 41 min left` when part of what is left cannot be foreseen."""
    if seconds < 5 and complete:
        return "a few seconds left"
    return f"{'about' if complete else 'at least'} {whole_duration(_told_left(seconds))} left"


def short_time_left(seconds: float, *, complete: bool = True) -> str:
    """The same figure for narrow columns: `~1m30s`, `>41m`."""
    return f"{'~' if complete else '>'}{short_duration(_told_left(seconds))}"


def stopwatch(seconds: float) -> str:
    """`0:04`, `12:05`, `1:02:05`: fixed steps, for columns that tick."""
    whole = max(0, int(seconds)) if math.isfinite(seconds) else 0
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def short_duration(seconds: float) -> str:
    """At most six cells, for narrow columns: `4s`, `12m`, `1h20m`, `3d4h`."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}m{rest:02d}s"
    if whole < 3600:
        return f"{round(whole / 60)}m"
    if whole < 86400:
        hours, rest = divmod(whole, 3600)
        return f"{hours}h{rest // 60:02d}m"
    days, rest = divmod(whole, 86400)
    return f"{days}d{rest // 3600}h"


def size(size_bytes: float) -> str:
    """`512 B`, `1.4 MiB`, `18 GiB`."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1023.5:
            return _scaled(value, unit)
        value /= 1024
    return _scaled(value, "TiB")


def _scaled(value: float, unit: str) -> str:
    if unit == "B" or abs(value) >= 9.95 or value == int(value):
        return f"{value:.0f} {unit}"
    return f"{value:.1f} {unit}"


def number(value: float) -> str:
    """Four significant digits without trailing noise: `0.731`, `12.5`, `80`, `1e-05`."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e9):
        return f"{int(value):,}"
    if not math.isfinite(value):
        return str(value)
    if abs(value) < 1e-3 or abs(value) >= 1e6:
        return f"{value:.3g}"
    return f"{value:.4g}"


def count(amount: int, noun: str, plural: str = "") -> str:
    """`1 image`, `80 images`, `2 boxes` with the plural given."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"
