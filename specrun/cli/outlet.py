"""Standard output for what lives long: a pipe that nobody reads must not keep it from hearing signals."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading

MOST_WAITING = 5_000
"""Texts; from then on the unhurried ones should be left out."""
_BYTES_AT_ONCE = 1 << 16


class Outlet:
    """Written by a thread of its own, past the buffer of `sys.stdout`, whose lock would outlive a blocked thread.

    A reader that goes away is told of by the next `write`.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    @property
    def full(self) -> bool:
        return self._waiting.qsize() > MOST_WAITING

    def write(self, text: str) -> None:
        """Returns at once. Raises OSError: nobody reads any more, or the disk is full."""
        if self._error is not None:
            raise self._error
        if self._thread is None:
            sys.stdout.flush()
            self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
            self._thread.start()
        self._waiting.put(text.encode(self._encoding, "replace"))

    def close(self, patience_s: float | None = None) -> None:
        """Waits for what is still to be written, at most so long (None: however long the reader takes).

        Raises OSError, as `write` does.
        """
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(patience_s)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (content := self._waiting.get()) is not None:
                ended = False
                with contextlib.suppress(queue.Empty):
                    while len(content) < _BYTES_AT_ONCE and not ended:
                        more = self._waiting.get_nowait()
                        ended = more is None
                        content += more or b""
                while content:
                    content = content[os.write(self._descriptor, content) :]
                if ended:
                    return
        except OSError as error:
            self._error = error
