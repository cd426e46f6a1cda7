"""The end of a growing log file, read a piece at a time and never held whole."""

from __future__ import annotations

import os
from pathlib import Path

from specrun.model.overwritten import last_state
from specrun.tui.log_layout import without_bar
from specrun.views.text import clean

FIRST_BYTES = 1 << 20
POLL_BYTES = 4 << 20
MAX_LINE = 4000


class LogTail:
    """`poll` gives the lines that came since the last call; the first call those of the file's end.

    A file that became shorter or was replaced is read anew (a second attempt writes its own log):
    `restarted` is then true until the next poll.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        self.skipped = False
        """The file is longer than what was read of it: only its end is here."""
        self._offset = 0
        self._rest = b""
        self._inode = -1
        self._cut = False

    def poll(self) -> list[str]:
        """[] when nothing came or there is no file (yet)."""
        self.restarted = False
        try:
            with open(self.path, "rb") as file:
                return self._read(file.fileno())
        except OSError:
            return []

    @property
    def pending(self) -> str:
        """What the last line, which has no end yet, shows by now: a progress bar may go on for hours."""
        return "" if self._cut else shown_line(self._rest)

    def _read(self, descriptor: int) -> list[str]:
        status = os.fstat(descriptor)
        if status.st_ino != self._inode or status.st_size < self._offset:
            self.restarted = self._inode != -1
            self._inode = status.st_ino
            self._begin_at(max(0, status.st_size - FIRST_BYTES))
        elif status.st_size - self._offset > POLL_BYTES:
            self._begin_at(status.st_size - POLL_BYTES)
        content = os.pread(descriptor, max(0, status.st_size - self._offset), self._offset)
        if not content:
            return []
        self._offset += len(content)
        lines = (self._rest + content).split(b"\n")
        self._rest = lines.pop()[-4 * MAX_LINE :]
        if self._cut and lines:
            del lines[0]
            self._cut = False
        return [shown_line(line) for line in lines]

    def _begin_at(self, offset: int) -> None:
        """In the middle of a file the first line is most likely a part of one, and is left out."""
        self._offset, self._rest = offset, b""
        self._cut = self.skipped = offset > 0


def shown_line(line: bytes) -> str:
    """As a terminal would leave it: of progress bars that overwrite themselves only the last state,
    and of that the numbers."""
    most = 4 * MAX_LINE
    kept = line[-most:] if b"\r" in line else line[:most]
    text = without_bar(clean(last_state(kept.decode("utf-8", errors="replace"))))
    return text if len(text) <= MAX_LINE else text[:MAX_LINE] + " …"
