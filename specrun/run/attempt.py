"""One attempt at one node: its request, its worker, and what it reports meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio

from specrun.model.address import Address
from specrun.model.event import Event, LogLine, event_from_json
from specrun.model.node import Node
from specrun.model.overwritten import last_state
from specrun.run.job import Job
from specrun.run.request import EVENTS_NAME, LOG_NAME, Request, Result, made_to_json
from specrun.run.tail import Tail, last_lines
from specrun.run.workers import WorkerPool, WorkerProcess
from specrun.store.paths import ProjectPaths
from specrun.store.staging import keep_time

FOLLOW_INTERVAL_S = 0.1
KEEP_TIME_S = 10.0
LAST_LINES = 12
MOST_CHARACTERS = 4_096
"""Of a line in the journal; the log file has all of it."""
LOG_LINES_PER_POLL = 2_000
"""More than this in one look is in the log file only, so that a chatty node cannot fill the journal."""


class Halt:
    """How a running node is told to stop. reason: what its failure says."""

    def __init__(self) -> None:
        self.reason = ""
        self._asked = anyio.Event()
        self._now = anyio.Event()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def ask(self, reason: str, *, at_once: bool = False) -> None:
        self.reason = self.reason or reason
        self._asked.set()
        if at_once:
            self._now.set()

    async def wait(self) -> None:
        await self._asked.wait()

    async def carry_out(self, worker: WorkerProcess) -> None:
        """Wait to be asked, then: a request, a grace, the end of the whole group."""
        await self._asked.wait()
        worker.ask_to_stop()
        with anyio.move_on_after(worker.grace_s):
            await self._now.wait()
        await worker.kill_group()


def make_request(
    job: Job,
    paths: ProjectPaths,
    node: Node,
    *,
    fingerprint: str,
    read: Mapping[str, str],
    inputs: Mapping[str, list[Any]],
    staging: Path,
    resumed: bool,
    gpus: tuple[int, ...],
    cpus: int,
) -> Request:
    observed = job.observations.get(node.address)
    return Request(
        run=job.run,
        address=str(node.address),
        kind=node.kind,
        kind_version=node.kind_version,
        fingerprint=fingerprint,
        config=node.config,
        result_config=node.result_config,
        declarations=node.declarations,
        settings=job.settings,
        inputs={role: [made_to_json(m) for m in made] for role, made in inputs.items()},
        read=read,
        observation=observed.value if observed else None,
        staging=str(staging),
        output=str(paths.output(node.address)),
        run_folder=str(paths.node_run(job.run, node.address)),
        project_dir=str(job.project_dir),
        output_root=str(job.output_root),
        state_dir=str(paths.state_dir),
        seed=job.seed if node.seed is None else node.seed,
        gpus=gpus,
        cpus=cpus,
        resumed=resumed,
        replaced=node.address in job.replace,
        project_name=job.project,
    )


def worker_environment(gpus: tuple[int, ...], *, has_gpus: bool) -> dict[str, str]:
    """Only what the lease grants is visible; a node without a lease sees no GPU at all."""
    if gpus:
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
    return {"CUDA_VISIBLE_DEVICES": ""} if has_gpus else {}


async def attempt(
    request: Request,
    node: Node,
    pool: WorkerPool,
    *,
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
    halt: Halt,
    emit: Callable[[Event], None],
    started: Callable[[WorkerProcess], None],
) -> Result:
    """Run it in a worker until it answers, dies, takes too long or is halted."""
    folder = Path(request.run_folder)
    request.save()
    (folder / "result.json").unlink(missing_ok=True)
    sort = node.worker if not request.gpus else "process"
    answered = timed_out = False
    async with pool.worker(sort, environment if sort not in ("light", "fiftyone") else {}) as worker:
        started(worker)
        async with anyio.create_task_group() as tasks:
            follower = Follower(node.address, folder, emit)
            tasks.start_soon(follower.run)
            tasks.start_soon(halt.carry_out, worker)
            tasks.start_soon(_keep_time, Path(request.staging))
            with anyio.move_on_after(node.timeout_s) as limit:
                answered = await worker.serve(request, secrets)
            if limit.cancelled_caught:
                timed_out = True
                await worker.kill_group()
            tasks.cancel_scope.cancel()
        follower.finish()
        status = worker.process.returncode
    result = Result.load(folder)
    if result is not None and result.ok:
        return result
    if halt.asked:
        return stopped(halt)
    if timed_out:
        cause = f"it took longer than its timeout of {node.timeout_s:g} s"
        return Result(
            ok=False, error="Timeout", cause=cause, hint="Raise `timeout`, or give it less to do.", exit_code=1
        )
    if result is None:
        how = f"exit status {status}" if answered or status is not None else "no exit status"
        return Result(ok=False, error="Died", cause=f"the worker ended without an answer ({how})", exit_code=1)
    return result


async def _keep_time(staging: Path) -> None:
    while True:
        await anyio.sleep(KEEP_TIME_S)
        keep_time(staging)


def stopped(halt: Halt) -> Result:
    return Result(ok=False, error="StopRequested", cause=halt.reason, exit_code=130)


class Follower:
    """Reads a node's log and events while it runs and passes them on."""

    def __init__(self, address: Address, folder: Path, emit: Callable[[Event], None]) -> None:
        self._address = str(address)
        self._log = Tail(folder / LOG_NAME, from_end=True)
        self._events = Tail(folder / EVENTS_NAME, from_end=True)
        self._emit = emit

    async def run(self) -> None:
        while True:
            await anyio.sleep(FOLLOW_INTERVAL_S)
            self._pass_on(final=False)

    def finish(self) -> None:
        self._pass_on(final=True)
        self._log.close()
        self._events.close()

    def _pass_on(self, *, final: bool) -> None:
        lines = self._log.poll(final=final)
        left_out = len(lines) - LOG_LINES_PER_POLL
        for line in lines[:LOG_LINES_PER_POLL]:
            self._emit(LogLine(address=self._address, text=last_state(line)[:MOST_CHARACTERS]))
        if left_out > 0:
            self._emit(LogLine(address=self._address, text=f"… {left_out} more lines in the log file"))
        for line in self._events.poll(final=final):
            event = _decoded(line)
            if event is not None:
                self._emit(event)


def _decoded(line: str) -> Event | None:
    try:
        return event_from_json(json.loads(line))
    except (ValueError, TypeError, AttributeError):
        return None


def end_of_log(folder: Path) -> tuple[str, ...]:
    return last_lines(folder / LOG_NAME, LAST_LINES)
