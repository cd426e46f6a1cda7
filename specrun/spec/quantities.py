"""Durations and amounts of memory as people write them."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def duration_s(text: str) -> float:
    """`90m`, `1h30m`, `500ms` in seconds; raises ValueError."""
    total, end = 0.0, 0
    for part in _DURATION.finditer(text):
        if part.start() != end:
            break
        total += float(part[1]) * _SECONDS[part[2]]
        end = part.end()
    if not text or end != len(text):
        raise ValueError(f'"{text}" is no duration; write a number with a unit, for example 30s, 90m, 1h30m or 2d')
    return total


def memory_mib(text: str) -> int:
    """`16GB` (10^9 bytes each) or `16GiB` (2^30 each) in MiB, rounded down; raises ValueError."""
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text}" is no amount of memory; write for example 512MB, 16GB or 16GiB')
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** _POWERS[found[2].upper()]) >> 20
