"""New whole lines of a file that others append to."""

from __future__ import annotations

import os
from pathlib import Path

from specrun.model.overwritten import last_state

READ_BYTES = 1 << 20
LONGEST_LINE = 1 << 16
"""Bytes after which a line is taken to end: what prints no line ends is passed on as well."""


class Tail:
    """`poll` returns the lines that were completed since the last time; a missing file has none.

    from_end: what the file holds already is passed over.
    """

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._rest = b""
        self._skip = path.stat().st_size if from_end and path.exists() else 0

    def poll(self, *, final: bool = False) -> list[str]:
        """At most READ_BYTES are read, unless final, which also gives the last line without an end."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return []
            os.lseek(self._descriptor, self._skip, os.SEEK_SET)
        lines: list[bytes] = []
        while chunk := os.read(self._descriptor, READ_BYTES):
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            lines += whole
            while len(self._rest) >= LONGEST_LINE:
                lines.append(self._rest[:LONGEST_LINE])
                self._rest = self._rest[LONGEST_LINE:]
            if not final:
                break
        if final and self._rest:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", errors="replace") for line in lines]

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def last_lines(path: Path, count: int, *, at_most_bytes: int = 1 << 16) -> tuple[str, ...]:
    """The end of a text file, of lines that overwrite themselves the last state; () when there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - at_most_bytes))
            content = file.read()
    except FileNotFoundError:
        return ()
    lines = [last_state(line).rstrip() for line in content.decode("utf-8", errors="replace").split("\n")]
    return tuple([line for line in lines if line][-count:])
