"""The project's own MongoDB server: one for all its processes, on a Unix socket, gone when nobody uses it.

    <project>/.specrun/fiftyone/
      db/            MongoDB's data folder
      mongod.log     its log
      gate           flock: held exclusively while the server is being started or stopped
      users          flock: held shared by each user; whoever gets it exclusively is alone
      guard          flock: held by the guard for its life
      server.json    where the running server listens and what its process is
      stopped.json   written after a clean stop: the stamp of db/ and what the databases looked like

The order of locks is always gate, then users. The guard is a small process that is the server's parent; it
waits until it can have `users` for itself, which the kernel grants also when the last user was killed, and
stops the server then. Killing the guard leaves the server running: the next user starts another guard.

Rejected: a count in a file (a killed user would never be counted out), PR_SET_PDEATHSIG (several users),
TCP on a random port (every account of the machine could connect: MongoDB has no password by default).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from specrun.clients.mongod_binary import find_mongod
from specrun.clients.mongod_folder import (
    ServerFolder,
    data_stamp,
    is_locked,
    locked,
    open_lock,
    read_json,
    socket_folder,
    try_lock,
    write_json,
)
from specrun.errors import NodeError
from specrun.model.digest import Json
from specrun.model.work import WORKER_MARK

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
GUARD_TIMEOUT_S = 5.0
CACHE_GB = 1
LOG_BYTES = 8 << 20


Look = Callable[[str], Json]
"""URI → what the databases look like now; taken just before a clean stop."""


@contextlib.contextmanager
def shared_server(root: Path, look: Look | None = None) -> Iterator[str]:
    """Use the project's server; yields its URI. The first user starts it, the last one stops it.

    root: `.specrun/fiftyone`. look: see `stop_if_alone`.
    Raises MissingDependency (no mongod), NodeError (a network file system, or it does not start).
    """
    folder = ServerFolder(root)
    folder.prepare()
    users = open_lock(folder.users)
    try:
        with locked(folder.gate):
            fcntl.flock(users, fcntl.LOCK_SH)
            socket = _ensure_running(folder)
        yield uri_of(socket)
    finally:
        with locked(folder.gate):
            os.close(users)
            stopped = stop_if_alone(folder, look)
        if stopped:  # nothing is left behind when this returns, so that the folder may be moved or removed
            wait_until(lambda: not is_locked(folder.guard), GUARD_TIMEOUT_S)


def stop_if_alone(folder: ServerFolder, look: Look | None = None) -> bool:
    """Stop the server unless somebody uses it; the gate must be held. Returns whether nobody used it."""
    users = open_lock(folder.users)
    try:
        if not _alone(users):
            return False
        record = running(folder)
        if record is not None:
            seen = None
            with contextlib.suppress(Exception):  # a server that does not answer is stopped all the same
                seen = look(uri_of(record.socket)) if look else None
            if _stop(record.pid):
                write_json(folder.stopped, {"stamp": data_stamp(folder.data), "seen": seen})
        _forget(folder)
        return True
    finally:
        os.close(users)


def _alone(users: int) -> bool:
    """Whether nobody else holds `users`; the lock is taken then. The gate must be held.

    The guard may have it for an instant, once, on its way to the gate: that counts as nobody.
    """
    shared = 0
    while shared < 3:
        if try_lock(users):
            return True
        if try_lock(users, shared=True):
            shared += 1
        else:
            time.sleep(0.001)
    return False


@dataclass(frozen=True, slots=True)
class Running:
    """created: the process's start time, so that a reused number is not mistaken for it."""

    pid: int
    created: float
    socket: Path


def running(folder: ServerFolder) -> Running | None:
    """The server process that the record names, if it lives."""
    import psutil  # 15 ms that commands without a database need not pay

    data = read_json(folder.record)
    if not data:
        return None
    try:
        found = Running(int(data["pid"]), float(data["created"]), Path(data["socket"]))
        process = psutil.Process(found.pid)
        same = abs(process.create_time() - found.created) < 1.0 and not ended(process)
    except (KeyError, TypeError, ValueError, psutil.Error):
        return None
    return found if same else None


def uri_of(socket: Path) -> str:
    from urllib.parse import quote  # with the rest of what only a running server needs

    return f"mongodb://{quote(str(socket), safe='')}"


def answers(socket: Path) -> bool:
    import socket as sockets  # with the rest of what only a running server needs

    with sockets.socket(sockets.AF_UNIX) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(socket))
        except OSError:
            return False
    return True


def _ensure_running(folder: ServerFolder) -> Path:
    """Start the server and its guard where they are missing; the gate and a share of `users` are held."""
    record = running(folder)
    if record is not None and not _answers_soon(record.socket):
        _stop(record.pid)  # its socket is gone (a cleaned runtime folder): of no use to anybody
        record = None
    if record is None:
        return _start(folder)
    if not is_locked(folder.guard):
        _spawn_guard(folder, [])
    return record.socket


def _start(folder: ServerFolder) -> Path:
    mongod = find_mongod(folder.root / "mongod.json")
    socket = socket_folder(folder.data) / "m.sock"
    socket.unlink(missing_ok=True)
    folder.stopped.unlink(missing_ok=True)
    _rotate(folder.log)
    # The old guard goes when its server does; two servers never share a guard.
    wait_until(lambda: not is_locked(folder.guard), GUARD_TIMEOUT_S)
    said_before = folder.log.stat().st_size if folder.log.exists() else 0
    guard = _spawn_guard(folder, server_argv(mongod.path, folder, socket))
    ready = wait_until(lambda: guard.poll() is not None or (answers(socket) and running(folder) is not None))
    if not ready or guard.poll() is not None:
        raise _start_failure(folder, guard.poll(), said_before)
    return socket


def server_argv(binary: Path, folder: ServerFolder, socket: Path) -> list[str]:
    # --nounixsocket keeps it from opening /tmp/mongodb-<port>.sock besides; no port is opened at all.
    return [
        *(str(binary), "--dbpath", str(folder.data), "--logpath", str(folder.log), "--logappend"),
        *("--bind_ip", str(socket), "--nounixsocket", "--filePermissions", "0600", "--quiet"),
        *("--wiredTigerCacheSizeGB", str(CACHE_GB), "--setParameter", "diagnosticDataCollectionEnabled=false"),
    ]


def _start_failure(folder: ServerFolder, status: int | None, said_before: int) -> NodeError:
    lines = _log_errors(folder.log, said_before)
    hint = "See the log."
    if status == 100 and any("Unable to lock" in line or "already running" in line for line in lines):
        hint = f"Another mongod uses {folder.data}; stop it."
    elif status in (14, 100, 128 + signal.SIGABRT):
        hint = f"If it is damaged, move {folder.data} away: apply makes the datasets anew, without hand-made changes."
    elif status == 62:
        hint = (
            f"{folder.data} was written by another MongoDB version; put that mongod on PATH, or move the folder away."
        )
    what = f"exit status {status}" if status is not None else f"no answer within {START_TIMEOUT_S:.0f} s"
    said = f": {lines[0]}" if lines else ""
    return NodeError(f"{folder.log}: FiftyOne's database did not start ({what}){said}.", hint=hint)


def _log_errors(log: Path, start: int) -> list[str]:
    """The errors in the log from a byte on (one JSON object a line), readable."""
    found = []
    try:
        lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("s") in ("E", "F"):
                attributes = entry.get("attr", {})
                detail = attributes.get("error") or attributes.get("message") or ""
                found.append(f"{entry.get('msg', '')} {_plain(detail)}".strip())
    return found


def _plain(detail: object) -> str:
    """One short line, whatever the server wrote."""
    text = " ".join(str(detail).split())
    return text if len(text) <= 200 else text[:199] + "…"


# The guard


def _spawn_guard(folder: ServerFolder, argv: list[str]) -> subprocess.Popen[bytes]:
    """argv: the server to start; empty: watch over the one that runs."""
    return subprocess.Popen(
        [sys.executable, "-m", "specrun.clients.mongod", str(folder.root), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and the end of a terminal are for the users, not for the server
        cwd="/",
        # Without the mark it outlives the worker that happened to start it.
        env={**_unmarked(), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def _unmarked() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != WORKER_MARK}


def guard(root: Path, argv: list[str]) -> int:
    """Start the server if asked, then wait until nobody uses it, and stop it."""
    # The guard is the last one where a user was killed: it looks as that user would have.
    from specrun.clients.fiftyone.look import look_at_embedded

    folder = ServerFolder(root)
    own = open_lock(folder.guard)
    if not try_lock(own):
        return 0
    if argv:
        signal.signal(signal.SIGCHLD, _leave_with_child)
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _save_record(folder, server.pid, Path(argv[argv.index("--bind_ip") + 1]))
    users = open_lock(folder.users)
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        with locked(folder.gate):
            before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if stop_if_alone(folder, look_at_embedded):
                return 0
            signal.signal(signal.SIGCHLD, before)


def _leave_with_child(number: int, frame: FrameType | None) -> None:
    """The server ended: so does its guard, with its status. Locks go with the process."""
    pid, status = os.waitpid(-1, os.WNOHANG)
    if pid:
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)


def _save_record(folder: ServerFolder, pid: int, socket: Path) -> None:
    import psutil  # only where a server is started

    created = psutil.Process(pid).create_time()
    write_json(folder.record, {"pid": pid, "created": created, "socket": str(socket)})


# Small steps


def _answers_soon(socket: Path) -> bool:
    return wait_until(lambda: answers(socket), 5.0)


def _stop(pid: int) -> bool:
    """SIGTERM and wait; SIGKILL after a minute. Returns whether it stopped cleanly."""
    import psutil  # only where a server is stopped

    try:
        process = psutil.Process(pid)
        process.terminate()
        if wait_until(lambda: ended(process), STOP_TIMEOUT_S):
            return True
        process.kill()
        wait_until(lambda: ended(process), STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        return True
    return False


def ended(process: Any) -> bool:
    """Also a zombie has ended: where process 1 reaps nobody, an orphan stays one. process: psutil's."""
    import psutil  # only where a server is started or stopped

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(done: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _rotate(log: Path) -> None:
    with contextlib.suppress(OSError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name("mongod.log.1"))


def _forget(folder: ServerFolder) -> None:
    """The record of a server that is gone, and its socket."""
    record = read_json(folder.record)
    if record and record.get("socket"):
        socket = Path(record["socket"])
        socket.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            socket.parent.rmdir()
    folder.record.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(guard(Path(sys.argv[1]), sys.argv[2:]))
