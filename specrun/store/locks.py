"""One writer a project: `.specrun/lock`.

The kernel's flock decides, so that a dead process holds nothing; the JSON inside only says who it is:
    {"who": "ann", "pid": 4711, "host": "box", "since": "2025-01-31T12:00:00+00:00", "operation": "apply"}
Content without a lock is what a killed process left. Rejected: a file whose presence is the lock (somebody
has to delete it after every kill), and a PID check (PIDs are used again, and mean nothing on another host).
"""

from __future__ import annotations

import errno
import getpass
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from specrun.errors import LockedError, StateError
from specrun.store.paths import create_state_dir

_ATTEMPTS = 5
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """since: ISO 8601, UTC. operation: `apply`, `watch`, …"""

    who: str
    pid: int
    host: str
    since: str
    operation: str

    def __str__(self) -> str:
        return f"{self.operation} by {self.who} (process {self.pid} on {self.host}) since {self.since}"


class ProjectLock:
    """Held for the length of a `with` block; not re-entrant."""

    def __init__(self, path: Path, *, pause: Callable[[float], object] = time.sleep) -> None:
        self._path = path
        self._pause = pause
        self._held: Holder | None = None

    @contextmanager
    def hold(self, operation: str) -> Iterator[Holder]:
        """Raises LockedError: somebody else holds it; StateError: this file system has no locks."""
        create_state_dir(self._path.parent)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._acquire(descriptor)
            self._held = _this_process(operation)
            _write(descriptor, json.dumps(asdict(self._held)).encode())
            try:
                yield self._held
            finally:
                self._held = None
                _write(descriptor, b"")
        finally:
            os.close(descriptor)

    def holder(self) -> Holder | None:
        """Who holds the lock now; None: nobody, whatever the file says."""
        if self._held:
            return self._held
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if _try_lock(descriptor, shared=True) else _read(self._path)
        except OSError as error:
            raise self._without_locks(error) from error
        finally:
            os.close(descriptor)

    def leftover(self) -> Holder | None:
        """What a killed process left in the file, for `specrun unlock`."""
        return None if self.holder() else _read(self._path)

    def clear(self) -> None:
        """Empties what a killed process left. Raises LockedError: it is held."""
        with self.hold("unlock"):
            pass

    def _acquire(self, descriptor: int) -> None:
        """Tried a few times: somebody who asks for the holder has the lock for a moment."""
        for attempt in range(_ATTEMPTS):
            try:
                if _try_lock(descriptor):
                    return
            except OSError as error:
                raise self._without_locks(error) from error
            if attempt + 1 < _ATTEMPTS:
                self._pause(_PAUSE_S)
        holder = _read(self._path)
        raise LockedError(
            f"{self._path}: locked by {holder or 'another process'}.",
            hint="Wait for it, follow it with `specrun attach`, or stop it.",
        )

    def _without_locks(self, error: OSError) -> StateError:
        return StateError(
            f"{self._path}: this file system cannot lock files ({error.strerror}).",
            hint="Put the project folder on a local disk, or have the network share mounted with locks.",
        )


def _try_lock(descriptor: int, *, shared: bool = False) -> bool:
    import fcntl  # not on Windows, where everything but holding the lock may still be imported

    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
            return False
        raise
    return True


def _this_process(operation: str) -> Holder:
    try:
        who = getpass.getuser()
    except (KeyError, OSError):
        who = str(os.getuid())
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(who, os.getpid(), socket.gethostname(), since, operation)


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, TypeError, ValueError):
        return None
