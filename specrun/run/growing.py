"""A file that others append to, cut or replace, read as it grows."""

from __future__ import annotations

import os
from pathlib import Path

READ_BYTES = 1 << 20
_BLOCK = 1 << 16


class GrowingFile:
    """`read` gives what came since the last time, READ_BYTES at most; a missing file has nothing yet.

    A file that became shorter, or was replaced by another one, is read from its beginning.
    last_lines: begin with that many lines before the end; None: with the first.
    """

    def __init__(self, path: Path, *, last_lines: int | None = None) -> None:
        self._path = path
        self._descriptor = -1
        self._place = 0
        self._last_lines = last_lines

    def read(self) -> bytes:
        if self._descriptor >= 0 and self._replaced():
            self.close()
            self._place = 0
        if self._descriptor < 0 and not self._open():
            return b""
        chunk = os.pread(self._descriptor, READ_BYTES, self._place)
        self._place += len(chunk)
        return chunk

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> bool:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        if self._last_lines is not None:
            self._place = start_of_last(self._descriptor, self._last_lines)
            self._last_lines = None
        return True

    def _replaced(self) -> bool:
        mine = os.fstat(self._descriptor)
        if mine.st_size < self._place:
            return True
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        # What was appended to the old file is read to its end first.
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino) and mine.st_size == self._place


def start_of_last(descriptor: int, lines: int) -> int:
    """Where the last so many lines begin. A line without an end counts."""
    place = size = os.fstat(descriptor).st_size
    if not size or lines <= 0:
        return size
    left = lines + (os.pread(descriptor, 1, size - 1) == b"\n")
    while place > 0:
        start = max(0, place - _BLOCK)
        block = os.pread(descriptor, place - start, start)
        at = len(block)
        while left and (at := block.rfind(b"\n", 0, at)) >= 0:
            left -= 1
        if not left:
            return start + at + 1
        place = start
    return 0
