"""Carries a job out: starts what may start, publishes what was made, tells what happened."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import psutil

from specrun.errors import ExitCode, SpecrunError, StateError
from specrun.model.address import Address
from specrun.model.artifact import Manifest
from specrun.model.event import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Notice,
    RunPaused,
)
from specrun.model.node import Node
from specrun.model.plan import Action
from specrun.model.state import Attempt, NodeRecord, Outcome
from specrun.run.attempt import Halt, attempt, end_of_log, make_request, stopped, worker_environment
from specrun.run.gpu import Gpus, Lease
from specrun.run.job import Job
from specrun.run.ledger import Ledger, record_of
from specrun.run.publisher import Publisher
from specrun.run.request import LOG_NAME, Result
from specrun.run.scheduler import Capacity, Scheduler, Skip, Status
from specrun.run.secrets import Secrets
from specrun.run.tally import Tally, tally_of
from specrun.run.workers import WorkerPool, WorkerProcess
from specrun.store.manifest import read_manifest
from specrun.store.paths import ProjectPaths
from specrun.store.publish import check_place
from specrun.store.staging import adoptable, open_staging, published
from specrun.store.state import State

RETRY_FIRST_S = 2.0
RETRY_MOST_S = 120.0
GPU_POLL_S = 2.0
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""That this process may use: containers and job systems often give fewer than there are."""
NEVER_RETRIED = {
    "OutOfMemory",
    "CredentialsError",
    "WaitingForPeople",
    "StopRequested",
    "SpecError",
    "MissingDependency",
}


@dataclass(eq=False)
class _Going:
    """A node that runs: how to stop it, and since when."""

    halt: Halt
    since: float


class Executor:
    """One run. emit: called with every event, on the event loop."""

    def __init__(
        self,
        job: Job,
        paths: ProjectPaths,
        state: State,
        emit: Callable[[Event], None],
        *,
        gpus: Gpus,
        secrets: Secrets,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job = job
        self._codes: dict[Address, int] = {}
        self._unchanged: set[Address] = set()
        self._wanted: dict[Address, str] = {}
        self._paths = paths
        self._state = state
        self._emit = emit
        self._gpus = gpus
        self._secrets = secrets
        self._clock = clock
        self.ledger = Ledger(job, paths, state.records())
        self._nodes = {node.address: node for node in job.nodes}
        planned = [p for p in job.plan.nodes if p.action.runs]
        self._scheduler = Scheduler([self._nodes[p.address] for p in planned], self._capacity())
        self._publisher = Publisher(paths)
        no_gpu = worker_environment((), has_gpus=bool(gpus.all))
        self._pool = WorkerPool(paths.run(job.run) / "workers.log", paths.state_dir, job.settings, no_gpu)
        self._going: dict[Address, _Going] = {}
        self._wake = anyio.Event()
        self._stopping = False
        self._tasks: anyio.abc.TaskGroup | None = None

    def _capacity(self) -> Capacity:
        settings = self.job.settings.get("executor", {})
        return Capacity(
            max_parallel=int(settings.get("max_parallel", 4)),
            cpus=float(CORES),
            memory_mib=psutil.virtual_memory().total >> 20,
            gpus=len(self._gpus.usable),
        )

    @property
    def tally(self) -> Tally:
        waiting = len(self.job.plan.with_action(Action.WAIT))
        return tally_of(self._scheduler.status, self._unchanged, self._codes, waiting)

    async def run(self) -> None:
        """Returns when nothing is left to do or the run was stopped."""
        self._announce_waiting()
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._publisher.run)
            await self._warm_up()
            try:
                while not self._scheduler.finished:
                    for node in self._scheduler.start():
                        tasks.start_soon(self._run_node, node)
                    if self._scheduler.finished:
                        break
                    await self._wake.wait()
                    self._wake = anyio.Event()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._pool.close()
                    self._publisher.close()
            tasks.cancel_scope.cancel()

    async def _warm_up(self) -> None:
        """FiftyOne takes seconds to import: its first worker starts while other nodes run."""
        waiting = self._scheduler.nodes.values()
        if any(node.worker == "fiftyone" for node in waiting):
            await self._pool.warm_up("fiftyone")

    def _announce_waiting(self) -> None:
        for planned in self.job.plan.with_action(Action.WAIT):
            self._emit(NodeWaiting(address=str(planned.address), missing=tuple(r.text for r in planned.reasons)))

    # What people ask for while it runs.

    def stop(self, reason: str, *, at_once: bool = False) -> None:
        """Start nothing more and ask everything that runs to stop; at once: kill it."""
        if not self._stopping:
            self._stopping = True
            for address in self._scheduler.skip_pending():
                self._emit(NodeSkipped(address=str(address), reason="the run was stopped"))
        for going in self._going.values():
            going.halt.ask(reason, at_once=at_once)
        self._wake.set()

    def cancel(self, address: Address) -> str:
        """Stop one node; returns why not, or ""."""
        going = self._going.get(address)
        if going is None and self._scheduler.status.get(address) is Status.PENDING:
            self._emit(NodeSkipped(address=str(address), reason="cancelled"))
            self._settle(address, Status.SKIPPED)
            self._wake.set()
            return ""
        if going is None:
            return f"{address} is not running"
        going.halt.ask("cancelled")
        return ""

    def retry(self, address: Address) -> str:
        if self._stopping or not self._scheduler.retry(address):
            return f"{address} did not fail"
        self._emit(NodeQueued(address=str(address)))
        self._wake.set()
        return ""

    def pause(self, paused: bool) -> None:
        self._scheduler.paused = paused
        self._emit(RunPaused(paused=paused))
        self._wake.set()

    def prioritise(self, address: Address) -> None:
        self._scheduler.prioritise(address)
        self._wake.set()

    # One node.

    async def _run_node(self, node: Node) -> None:
        try:
            await self._make(node)
        except SpecrunError as error:
            self._failed(node, Result.of_error(error))
        except OSError as error:
            self._failed(node, Result(ok=False, error="OSError", cause=str(error), exit_code=ExitCode.NODE_FAILED))
        finally:
            self._going.pop(node.address, None)
            self._wake.set()

    async def _make(self, node: Node) -> None:
        address = node.address
        unreachable = self.job.unreachable.get(address)
        if unreachable is not None:
            raise unreachable.as_error()
        read, wanted = self.ledger.wanted(node)
        self._wanted[address] = wanted
        if self.ledger.is_made(address, wanted):
            self._unchanged.add(address)
            self._emit(NodeSkipped(address=str(address), reason="unchanged", unchanged=True))
            self._settle(address, Status.DONE)
            return
        if node.external and not self.job.approved:
            self._emit(NodeWaiting(address=str(address), missing=("needs approval: --yes",), approval=True))
            self._settle(address, Status.WAITING)
            return
        # Asked before the work, and again when it is published: an hour of training is not to end in this.
        check_place(self._state, self._paths, address, recorded=address in self.ledger.records)
        if not await self._taken_over(node, wanted):
            await self._attempts(node, wanted, read)

    async def _taken_over(self, node: Node, wanted: str) -> bool:
        """What lies there whole is never made again: a finished staging folder that a kill kept from being
        published, or an output whose state was lost."""
        if node.address in self.job.replace:
            return False
        staged = adoptable(self._paths, node.address, wanted)
        if staged is not None:
            await self._publish(node, staged, self._paths.staging(node.address, wanted), 0.0)
            return True
        found = published(self._paths, node.address, wanted) if node.address not in self.ledger.records else None
        if found is None:
            return False
        record = record_of(node, found, duration_s=0.0)
        self._state.put_record(record)
        self._made(node, record)
        return True

    async def _attempts(self, node: Node, wanted: str, read: Mapping[str, str]) -> None:
        going = self._going[node.address] = _Going(Halt(), self._clock())
        if self._stopping:
            going.halt.ask("the run was stopped")
        lease = await self._lease(node, going.halt)
        try:
            for number in range(1, node.retries + 2):
                if going.halt.asked:
                    self._failed(node, stopped(going.halt))
                    return
                result = await self._attempt(node, wanted, read, going, lease, number)
                if result.ok:
                    manifest = read_manifest(self._paths.staging(node.address, wanted))
                    if manifest is None:
                        raise SpecrunError("the worker said it was done but left no manifest")
                    taken = self._clock() - going.since
                    await self._publish(node, manifest, self._paths.staging(node.address, wanted), taken)
                    return
                if number > node.retries or result.error in NEVER_RETRIED or going.halt.asked:
                    self._failed(node, result)
                    return
                await self._pause_before_retry(node, going.halt, number, result)
        finally:
            if lease is not None:
                lease.release()

    async def _lease(self, node: Node, halt: Halt) -> Lease | None:
        """GPUs for a node; waits while other projects or people use them. None: it runs on the CPU."""
        count = self._scheduler.gpus_for(node)
        if count < node.resources.min_gpus:
            raise SpecrunError(
                f"it insists on {node.resources.min_gpus} GPUs and there are {len(self._gpus.usable)}",
                hint="Write `gpus: 1` to let it run on the CPU.",
            )
        if count == 0:
            return None
        said = False
        while (lease := self._gpus.lease(count)) is None and not halt.asked:
            if not said:
                self._emit(NodeQueued(address=str(node.address), waits_for="a GPU that others use"))
                said = True
            await anyio.sleep(GPU_POLL_S)
        return lease

    async def _attempt(
        self, node: Node, wanted: str, read: Mapping[str, str], going: _Going, lease: Lease | None, number: int
    ) -> Result:
        staging, resumed = open_staging(self._paths, node.address, wanted, node.resume)
        gpus = lease.indices if lease is not None else ()
        request = make_request(
            self.job,
            self._paths,
            node,
            fingerprint=wanted,
            read=read,
            inputs=self.ledger.inputs(node),
            staging=staging,
            resumed=resumed,
            gpus=gpus,
            cpus=max(1, int(min(node.resources.cpus, CORES))),
        )

        def started(worker: WorkerProcess) -> None:
            self._emit(
                NodeStarted(
                    address=str(node.address),
                    attempt=number,
                    worker=worker.sort,
                    pid=worker.pid,
                    gpus=gpus,
                    log=f"{node.address.folder}/{LOG_NAME}",
                    resumed=resumed,
                )
            )

        return await attempt(
            request,
            node,
            self._pool,
            environment=worker_environment(gpus, has_gpus=bool(self._gpus.all)),
            secrets=await anyio.to_thread.run_sync(self._secrets.of, node),
            halt=going.halt,
            emit=self._emit,
            started=started,
        )

    async def _pause_before_retry(self, node: Node, halt: Halt, number: int, result: Result) -> None:
        delay = min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** (number - 1)) * random.uniform(0.5, 1.5)
        self._emit(NodeRetrying(address=str(node.address), attempt=number + 1, delay_s=delay, cause=result.cause))
        with anyio.move_on_after(delay):
            await halt.wait()

    # How a node ends.

    async def _publish(self, node: Node, manifest: Manifest, staging: Path, duration_s: float) -> None:
        record = record_of(node, manifest, duration_s=duration_s)
        await self._publisher.publish(record, staging, keep=node.keep)
        self._made(node, record)

    def _made(self, node: Node, record: NodeRecord) -> None:
        self.ledger.add(record)
        self._emit(
            NodeFinished(
                address=str(node.address),
                duration_s=record.duration_s,
                digest=record.digest,
                facts=dict(record.facts),
                notes=record.notes,
                folder=str(self._paths.output(node.address)),
            )
        )
        self._settle(node.address, Status.DONE)

    def _failed(self, node: Node, result: Result) -> None:
        address, folder = node.address, self._paths.node_run(self.job.run, node.address)
        if result.error == "WaitingForPeople":
            self._emit(NodeWaiting(address=str(address), missing=result.missing))
            self._settle(address, Status.WAITING)
            return
        interrupted = result.error == "StopRequested"
        self._codes[address] = result.exit_code or ExitCode.NODE_FAILED
        self._remember_attempt(node, Outcome.INTERRUPTED if interrupted else Outcome.FAILED, result.cause)
        self._emit(
            NodeFailed(
                address=str(address),
                cause=result.cause,
                hint=result.hint,
                log=f"{address.folder}/{LOG_NAME}" if (folder / LOG_NAME).exists() else "",
                last_lines=end_of_log(folder),
                exit_code=result.exit_code or ExitCode.NODE_FAILED,
                interrupted=interrupted,
            )
        )
        self._settle(address, Status.FAILED)

    def _remember_attempt(self, node: Node, outcome: Outcome, cause: str) -> None:
        """Best effort: the disk may be full, and the journal tells it too."""
        wanted, now = self._wanted.get(node.address, ""), datetime.now(UTC).isoformat()
        try:
            self._state.put_attempt(Attempt(node.address, outcome, wanted, self.job.run, now, cause, node.resume))
        except (StateError, OSError) as error:
            self.notice(f"{node.address}: its failure could not be kept in the state: {error}", "warning")

    def _settle(self, address: Address, status: Status) -> None:
        for skip in self._scheduler.settle(address, status):
            self._skipped(skip)

    def _skipped(self, skip: Skip) -> None:
        if skip.status is Status.WAITING:
            self._emit(NodeWaiting(address=str(skip.address), missing=(f"waits for {skip.because}",)))
            return
        fate = "failed" if self._scheduler.status[skip.because] is Status.FAILED else "did not run"
        self._emit(NodeSkipped(address=str(skip.address), reason=f"needs {skip.because}, which {fate}"))

    def notice(self, text: str, level: str = "info") -> None:
        self._emit(Notice(text=text, level=level))
