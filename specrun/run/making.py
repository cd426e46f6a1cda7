"""Making one node: found unchanged, taken over, or made in a worker with its attempts, its GPUs and its staging."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from specrun.errors import NodeError, SpecrunError
from specrun.model.address import Address
from specrun.model.artifact import Manifest
from specrun.model.event import Event, NodeQueued, NodeRetrying, NodeStarted, Progress
from specrun.model.node import Node
from specrun.model.state import NodeRecord
from specrun.run.attempt import Halt, attempt, make_request, stopped, worker_environment
from specrun.run.gpu import Gpus, Lease
from specrun.run.job import Job
from specrun.run.ledger import Ledger, record_of
from specrun.run.publisher import Publisher
from specrun.run.request import LOG_NAME, Result
from specrun.run.secrets import Secrets
from specrun.run.workers import WorkerPool, WorkerProcess
from specrun.store.manifest import read_manifest
from specrun.store.paths import ProjectPaths
from specrun.store.publish import check_place
from specrun.store.staging import adoptable, begin_work, is_waiting, keep_time, open_staging, published
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


@dataclass(frozen=True, kw_only=True)
class Unchanged:
    """What is there is what is wanted."""


@dataclass(frozen=True, kw_only=True)
class Unapproved:
    """It writes outside the machine, and nobody agreed."""


Ending = NodeRecord | Unchanged | Unapproved | Result
"""NodeRecord: it is published. Result: why it is not."""


@dataclass(kw_only=True)
class Workshop:
    """What every node of a run is made with. emit: called with every event, on the event loop."""

    paths: ProjectPaths
    state: State
    ledger: Ledger
    publisher: Publisher
    pool: WorkerPool
    gpus: Gpus
    secrets: Secrets
    emit: Callable[[Event], None]


@dataclass(eq=False)
class Making:
    """One node in the making. job: of the moment in which it began; the run may be amended meanwhile.
    wanted: the fingerprint that it is made for; "" before that is known."""

    node: Node
    job: Job
    shop: Workshop
    halt: Halt = field(default_factory=Halt)
    wanted: str = ""
    earlier_s: float = 0.0
    """How long the work had taken in earlier attempts, where it goes on from them."""
    _read: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> Address:
        return self.node.address

    async def run(self) -> Ending:
        """Never raises what is expected: it is the result."""
        try:
            return await self._make()
        except SpecrunError as error:
            return Result.of_error(error)
        except OSError as error:
            return Result(ok=False, error="OSError", cause=str(error), exit_code=1)

    async def _make(self) -> Ending:
        shop, address = self.shop, self.address
        unreachable = self.job.unreachable.get(address)
        if unreachable is not None:
            # A failure counts for what was wanted when it happened.
            with contextlib.suppress(NodeError):
                self._read, self.wanted = shop.ledger.wanted(self.node)
            raise unreachable.as_error()
        self._read, self.wanted = shop.ledger.wanted(self.node)
        if shop.ledger.is_made(address, self.wanted):
            return Unchanged()
        if self.node.external and not self.job.approved:
            return Unapproved()
        # Asked before the work, and again when it is published: an hour of training is not to end in this.
        check_place(shop.state, shop.paths, address, recorded=address in shop.ledger.records)
        taken_over = await self._taken_over()
        return taken_over if taken_over is not None else await self._attempts()

    async def _taken_over(self) -> NodeRecord | None:
        """What lies there whole is never made again: a finished staging folder that a kill kept from being
        published, or an output whose state was lost."""
        shop, address = self.shop, self.address
        if address in self.job.replace:
            return None
        staged = adoptable(shop.paths, address, self.wanted)
        if staged is not None:
            return await self._publish(staged, 0.0)
        found = published(shop.paths, address, self.wanted) if address not in shop.ledger.records else None
        if found is None:
            return None
        record = record_of(self.node, found, duration_s=0.0)
        shop.state.put_record(record)
        return record

    async def _attempts(self) -> Ending:
        node = self.node
        lease = await self._lease()
        try:
            for number in range(1, node.retries + 2):
                if self.halt.asked:
                    break
                result, took_s = await self._attempt(lease, number)
                if result.ok:
                    manifest = read_manifest(self.shop.paths.staging(node.address, self.wanted))
                    if manifest is None:
                        raise SpecrunError("the worker said it was done but left no manifest")
                    return await self._publish(manifest, took_s)
                if number > node.retries or result.error in NEVER_RETRIED or self.halt.asked:
                    return result
                await self._pause_before_retry(number, result)
            return stopped(self.halt)
        finally:
            if lease is not None:
                lease.release()

    async def _lease(self) -> Lease | None:
        """GPUs for a node; waits while other projects or people use them. None: it runs on the CPU."""
        gpus, resources = self.shop.gpus, self.node.resources
        count = min(resources.gpus, len(gpus.usable))
        if count < resources.min_gpus:
            raise SpecrunError(
                f"it insists on {resources.min_gpus} GPUs and there are {len(gpus.usable)}",
                hint="Write `gpus: 1` to let it run on the CPU.",
            )
        if count == 0:
            return None
        said = False
        while (lease := gpus.lease(count)) is None and not self.halt.asked:
            if not said:
                self.shop.emit(NodeQueued(address=str(self.address), waits_for="a GPU that others use"))
                said = True
            with anyio.move_on_after(GPU_POLL_S):
                await self.halt.wait()
        return lease

    async def _attempt(self, lease: Lease | None, number: int) -> tuple[Result, float]:
        """Its result, and how long the work in its staging folder took, with earlier attempts that it went on from."""
        shop, node = self.shop, self.node
        staging, resumed = open_staging(shop.paths, node.address, self.wanted, node.resume)
        waited = is_waiting(staging)
        gpus = lease.indices if lease is not None else ()
        request = make_request(
            self.job,
            shop.paths,
            node,
            fingerprint=self.wanted,
            read=self._read,
            inputs=shop.ledger.inputs(node),
            staging=staging,
            resumed=resumed,
            gpus=gpus,
            cpus=max(1, int(min(node.resources.cpus, CORES))),
        )

        def started(worker: WorkerProcess) -> None:
            shop.emit(
                NodeStarted(
                    address=str(node.address),
                    attempt=number,
                    worker=worker.sort,
                    pid=worker.pid,
                    gpus=gpus,
                    log=f"{node.address.folder}/{LOG_NAME}",
                    # Work that waited for people is begun anew with what it kept; nothing was interrupted.
                    resumed=resumed and not waited,
                )
            )
            if worker.sort == "fiftyone" and worker.served == 0:
                phase = "starting FiftyOne and its database"
                shop.emit(Progress(address=str(node.address), done=0, total=None, unit="", phase=phase))

        self.earlier_s = begin_work(staging, time.time(), config=node.result_config, read=self._read)
        began = time.monotonic()
        result = await attempt(
            request,
            node,
            shop.pool,
            environment=worker_environment(gpus, has_gpus=bool(shop.gpus.all)),
            secrets=await anyio.to_thread.run_sync(shop.secrets.of, node),
            halt=self.halt,
            emit=shop.emit,
            started=started,
        )
        keep_time(staging)
        return result, self.earlier_s + time.monotonic() - began

    async def _pause_before_retry(self, number: int, result: Result) -> None:
        delay = min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** (number - 1)) * random.uniform(0.5, 1.5)
        address = str(self.address)
        self.shop.emit(NodeRetrying(address=address, attempt=number + 1, delay_s=delay, cause=result.cause))
        with anyio.move_on_after(delay):
            await self.halt.wait()

    async def _publish(self, manifest: Manifest, duration_s: float) -> NodeRecord:
        record = record_of(self.node, manifest, duration_s=duration_s)
        staging = self.shop.paths.staging(self.address, self.wanted)
        await self.shop.publisher.publish(record, staging, keep=self.node.keep)
        return record
