"""Running a program as a node: its output is followed, a wish to stop is passed on, nothing of it is left running.

A worker leads a session and process group of its own, and the program stays in that group, so that whoever kills
the group ends the program and all its children. Where this process leads no session (tests, other callers), the
group is not ours to signal and the program alone is.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from specrun.errors import NodeError, StopRequested
from specrun.kinds.steps.report import Lines, report
from specrun.model.work import Context

STOP_GRACE_S = 10.0
QUIET_S = 1.0
"""How long the output is still read once the program ended, while a process that it left behind holds it open."""
LINGER_S = 5.0
"""The same when that process keeps printing."""
POLL_S = 0.2


def run_program(argv: list[str], environment: Mapping[str, str], ctx: Context) -> None:
    """Run it in the staging folder to its end. Raises NodeError: it failed; StopRequested."""
    program = shutil.which(argv[0], path=environment["PATH"]) or argv[0]
    try:
        process = subprocess.Popen(
            [program, *argv[1:]],
            cwd=ctx.staging,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except (OSError, ValueError) as error:
        raise NodeError(f"{argv[0]} could not be started: {getattr(error, 'strerror', None) or error}") from error
    assert process.stdout is not None
    try:
        with process.stdout as output:
            _Following(process, output, ctx).to_the_end()
    finally:
        if process.poll() is None:
            _signal(process, signal.SIGKILL)
            process.wait()
    status = process.returncode
    if ctx.stop_requested():
        raise StopRequested(f"{Path(argv[0]).name} was stopped")
    if status:
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with exit status {status}"
        raise NodeError(f"{Path(argv[0]).name} {how}", hint="Its output is in the log.")


class _Following:
    """One program, from its start to the end of its output."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes], ctx: Context) -> None:
        self._process = process
        self._descriptor = output.fileno()
        self._ctx = ctx
        self._lines = Lines()
        self._open = True
        self._asked_at: float | None = None
        self._killed = False

    def to_the_end(self) -> None:
        ended_at, heard_at = None, time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while True:
                if not self._open:
                    self._wait()
                elif selector.select(timeout=POLL_S):
                    self._read()
                    heard_at = time.monotonic()
                self._pass_on_stop()
                if self._process.poll() is None:
                    continue
                now = time.monotonic()
                ended_at = ended_at or now
                if self._asked_at is not None:
                    # What it started may be saving its work, even after the program itself is gone.
                    if self._killed or not _others(self._process):
                        break
                elif not self._open:
                    return
                elif now - max(heard_at, ended_at) > QUIET_S or now - ended_at > LINGER_S:
                    self._ctx.log("(it left a process behind that holds its output; no more of it is read)")
                    break
        self._read_last()

    def _wait(self) -> None:
        if self._process.poll() is not None:
            # Only after a wish to stop is there more to wait for: the end of its children.
            time.sleep(POLL_S)
            return
        _await_end(self._process)

    def _read(self) -> None:
        chunk = os.read(self._descriptor, 1 << 16)
        self._open = bool(chunk)
        for line in self._lines.feed(chunk):
            report(line, self._ctx)

    def _read_last(self) -> None:
        """What lies in the pipe already, and the line without an end."""
        if self._open:
            os.set_blocking(self._descriptor, False)
            deadline = time.monotonic() + QUIET_S
            with contextlib.suppress(BlockingIOError):
                while self._open and time.monotonic() < deadline:
                    self._read()
        if self._open:
            for line in self._lines.feed(b""):
                report(line, self._ctx)

    def _pass_on_stop(self) -> None:
        if not self._ctx.stop_requested():
            return
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            _signal(self._process, signal.SIGTERM)
        elif not self._killed and time.monotonic() - self._asked_at > STOP_GRACE_S:
            self._killed = True
            _signal(self._process, signal.SIGKILL)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """At most POLL_S. `Popen.wait(timeout)` sleeps half a millisecond at first, which every short step would pay."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # Not on macOS, nor on old kernels.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=POLL_S)
        return
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        ended.poll(POLL_S * 1000)
    finally:
        os.close(descriptor)


def _leads_session() -> bool:
    return os.getsid(0) == os.getpid()


def _others(process: subprocess.Popen[bytes]) -> list[int]:
    """What still runs of the program: everything in this process's group but this process."""
    if not _leads_session():
        return [process.pid] if process.poll() is None else []
    # Only a program that is being stopped pays for it.
    import psutil

    own, group = os.getpid(), os.getpgrp()
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if pid != own and os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    for pid in _others(process):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _signal_name(number: int) -> str:
    """Real-time signals have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
