"""Lines that overwrite themselves by carriage returns, as progress bars do."""

from __future__ import annotations


def last_state(line: str) -> str:
    """What a terminal would be left with: the last part between carriage returns that is not blank."""
    if "\r" not in line:
        return line
    return next((part for part in reversed(line.split("\r")) if part.strip()), "")
