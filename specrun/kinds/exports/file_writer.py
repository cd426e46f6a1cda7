"""Writing very many small files: in this process first, by a second process once there are many.

Creating a file or a link costs 20 to 50 microseconds in the kernel, as much as making its content, so a second
process doubles the rate. It is this file run by a bare interpreter (12 ms to start, standard library only),
fed over a pipe with batches of operations. Rejected: threads (every return from a system call waits for the
interpreter's lock, up to 5 ms beside busy Python code); multiprocessing (imports the whole program again).
"""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

Operation = tuple[str, str, bytes, str]
"""What (`write`, `symlink`, `link`), absolute path, content, target. A hard link that fails is written."""

_IN_THIS_PROCESS = 2000
_BATCH = 256
_LENGTH_BYTES = 8
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class FileWriter:
    """processes: 1 never starts another. Folders must exist. Nothing is sure to be there before `wait`."""

    def __init__(self, processes: int) -> None:
        self._may_start = processes > 1
        self._done = 0
        self._batch: list[Operation] = []
        self._child: subprocess.Popen[bytes] | None = None

    def add(self, operation: Operation) -> None:
        """Raises OSError: this or an earlier operation failed."""
        if self._child is None:
            perform(operation)
            self._done += 1
            if self._may_start and self._done >= _IN_THIS_PROCESS:
                self._child = _start()
            return
        self._batch.append(operation)
        if len(self._batch) >= _BATCH:
            self._send()

    def wait(self) -> None:
        """Until everything is written; raises OSError: something was not."""
        if self._child is None:
            return
        if self._batch:
            self._send()
        self._end()

    def abandon(self) -> None:
        """End the other process, whatever is left to do."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
            self._batch = []

    def _send(self) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        data = marshal.dumps(self._batch)
        self._batch = []
        try:
            self._child.stdin.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
        except BrokenPipeError:
            self._end()
            raise

    def _end(self) -> None:
        assert self._child is not None
        child, self._child = self._child, None
        self._done = 0
        _, said = child.communicate()
        if child.returncode:
            lines = said.decode(errors="replace").strip().splitlines()
            raise OSError(lines[-1] if lines else f"the writing process ended with status {child.returncode}")


def perform(operation: Operation) -> None:
    """Raises OSError."""
    what, path, content, target = operation
    if what == "symlink":
        os.symlink(target, path)
        return
    if what == "link":
        try:
            os.link(target, path)
        except OSError:
            pass
        else:
            return
    file = os.open(path, _NEW_FILE, 0o666)
    try:
        written = os.write(file, content)
        while written < len(content):
            written += os.write(file, content[written:])
    finally:
        os.close(file)


def _start() -> subprocess.Popen[bytes]:
    command: Sequence[str] = (sys.executable, "-I", "-S", __file__)
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def serve(stream: IO[bytes]) -> None:
    """The other process: batches until the end of the pipe."""
    while head := stream.read(_LENGTH_BYTES):
        operations: list[Operation] = marshal.loads(stream.read(int.from_bytes(head, "big")))
        for operation in operations:
            perform(operation)


if __name__ == "__main__":
    serve(sys.stdin.buffer)
