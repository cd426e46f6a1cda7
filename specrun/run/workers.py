"""Worker processes as the executor sees them: started on need, kept warm by sort, ended with their group."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

import anyio
import anyio.abc
import psutil

from specrun.model.work import WORKER_MARK
from specrun.run.request import Request

STOP_GRACE_S = 30.0
RECYCLE_NODES = 50
RECYCLE_BYTES = 2 << 30
SORTS = ("light", "fiftyone")
"""Sorts that are kept warm; every other sort gets a fresh process."""


@dataclass(eq=False)
class WorkerProcess:
    """One worker. served: nodes so far."""

    sort: str
    process: anyio.abc.Process
    served: int = 0
    grace_s: float = STOP_GRACE_S

    @property
    def pid(self) -> int:
        return self.process.pid

    async def serve(self, request: Request, secrets: Mapping[str, str]) -> bool:
        """Hand it a request and wait; False when the worker died over it."""
        message = json.dumps({"request": str(request.path), "secrets": dict(secrets)}) + "\n"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            await self.process.stdin.send(message.encode())
            answer = await self.process.stdout.receive()
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            return False
        self.served += 1
        return b"done" in answer

    def ask_to_stop(self) -> None:
        """The running node sees `stop_requested`."""
        self._signal(signal.SIGTERM)

    async def kill_group(self) -> None:
        """End it and all its children; `serve` then answers False."""
        self._signal(signal.SIGKILL, group=True)
        await self.process.wait()

    async def kill(self) -> None:
        await self.kill_group()
        await self.process.aclose()

    async def close(self) -> None:
        """End an idle worker: it leaves when its input ends. One that never served may still be importing."""
        if self.served == 0:
            await self.kill()
            return
        assert self.process.stdin is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self.process.stdin.aclose()
        with anyio.move_on_after(5):
            await self.process.wait()
        await self.kill()

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)

    @property
    def worn_out(self) -> bool:
        """Served many nodes or grown large: libraries leak."""
        if self.served >= RECYCLE_NODES and self.sort != "light":
            return True
        try:
            return bool(psutil.Process(self.process.pid).memory_info().rss > RECYCLE_BYTES)
        except psutil.Error:
            return True


def _appending(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "ab")


def _patient_threads(environ: Mapping[str, str]) -> dict[str, str]:
    """GNU OpenMP's threads spin for milliseconds while they wait for one another. Where something else uses the cores
    too, the one that is waited for does not get to run meanwhile: a small segmentation training on two cores took 5.5
    minutes beside another busy process, and 1.7 with this. What the user sets holds."""
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & environ.keys()
    return {} if chosen else {"GOMP_SPINCOUNT": "10000"}


@dataclass(eq=False)
class WorkerPool:
    """Idle warm workers by sort. log: where a worker's own start-up messages go.
    environment: of every worker, unless a node's own says otherwise."""

    log: Path
    state_dir: Path
    settings: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    _idle: dict[str, list[WorkerProcess]] = field(default_factory=dict)
    _all: set[WorkerProcess] = field(default_factory=set)

    @asynccontextmanager
    async def worker(self, sort: str, environment: Mapping[str, str]) -> AsyncIterator[WorkerProcess]:
        """A worker for one node; it goes back to the idle ones when it is still good."""
        warm = sort in SORTS and not environment
        idle = self._idle.setdefault(sort, [])
        worker = idle.pop() if warm and idle else await self.start(sort, environment)
        served = worker.served
        try:
            yield worker
        finally:
            answered = worker.served > served
            with anyio.CancelScope(shield=True):
                if warm and answered and worker.process.returncode is None and not worker.worn_out:
                    idle.append(worker)
                elif answered:
                    await worker.close()
                    self._all.discard(worker)
                else:
                    await worker.kill()
                    self._all.discard(worker)

    async def start(self, sort: str, environment: Mapping[str, str]) -> WorkerProcess:
        """A process group of its own, with the supervisor's end of its input as its life line."""
        arguments = [sys.executable, "-m", "specrun.run.worker", *([sort] if sort == "fiftyone" else [])]
        with _appending(self.log) as log:
            process = await anyio.open_process(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={
                    **_patient_threads(os.environ),
                    **os.environ,
                    **self.environment,
                    **environment,
                    "SPECRUN_SETTINGS": json.dumps(self.settings),
                    "SPECRUN_STATE_DIR": str(self.state_dir),
                    WORKER_MARK: token_hex(8),
                },
                start_new_session=True,
            )
        worker = WorkerProcess(sort, process)
        self._all.add(worker)
        return worker

    async def warm_up(self, sort: str) -> None:
        """Start one before it is needed."""
        worker = await self.start(sort, {})
        self._idle.setdefault(sort, []).append(worker)

    async def close(self) -> None:
        """End all; those still busy are killed with their groups."""
        idle = {worker for workers in self._idle.values() for worker in workers}
        async with anyio.create_task_group() as tasks:
            for worker in self._all:
                tasks.start_soon(worker.close if worker in idle else worker.kill)
        self._all.clear()
        self._idle.clear()
