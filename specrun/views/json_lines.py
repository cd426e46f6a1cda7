"""`--ui json`: the journal's own lines, for other programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from specrun.model.event import JOURNAL_FORMAT, Event

_STEERING = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class JsonLinesPrinter:
    """Writes the header before the first event. `write` gets whole lines with their line end."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._begun = False

    def begin(self) -> None:
        """Writes the header even when no event ever comes."""
        if not self._begun:
            self._begun = True
            self._write(json.dumps({"type": "Journal", "format": JOURNAL_FORMAT}) + "\n")

    def handle(self, event: Event) -> None:
        self.begin()
        self._write(event_line(event) + "\n")


def event_line(event: Event) -> str:
    """One line of JSON. Characters that JSON would let through to steer a terminal are escaped, and so is `##[`,
    which GitHub takes for the beginning of a command anywhere in a line."""
    line = json.dumps(event.to_json(), ensure_ascii=False, separators=(",", ":"))
    line = line.replace("##[", "#\\u0023[")
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
