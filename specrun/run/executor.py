"""Carries a job out: starts what may start, tells what happened, and takes another plan in while it runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import assert_never

import anyio
import psutil

from specrun.errors import ExitCode, SpecrunError, StateError
from specrun.kinds.registry import REGISTRY
from specrun.model.address import Address
from specrun.model.event import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeSkipped,
    NodeWaiting,
    Notice,
    RunAmended,
    RunPaused,
    RunStopping,
)
from specrun.model.plan import Action, PlannedNode
from specrun.model.state import Attempt, NodeRecord, Outcome
from specrun.run.amending import LOST, Amendment, Standing, amend
from specrun.run.attempt import end_of_log, worker_environment
from specrun.run.gpu import Gpus
from specrun.run.job import Job
from specrun.run.ledger import Ledger
from specrun.run.making import CORES, Ending, Making, Unapproved, Unchanged, Workshop
from specrun.run.publisher import Publisher
from specrun.run.refresh import what_is_saved
from specrun.run.request import LOG_NAME, Result
from specrun.run.scheduler import Capacity, Scheduler, Skip, Status
from specrun.run.secrets import Secrets
from specrun.run.tally import Tally, tally_of
from specrun.run.workers import WorkerPool
from specrun.store.paths import ProjectPaths
from specrun.store.staging import leave_waiting
from specrun.store.state import State

CHANGED = "what it is made of has changed; it begins anew"
UNWANTED = "it is not wanted any more"


class Executor:
    """One run. emit: called with every event, on the event loop.

    stays: asked when nothing is left to do; while it says yes the run waits to be amended.
    last_call: asked before it ends for whatever people want that was not heard yet.
    """

    def __init__(
        self,
        job: Job,
        paths: ProjectPaths,
        state: State,
        emit: Callable[[Event], None],
        *,
        gpus: Gpus,
        secrets: Secrets,
        stays: Callable[[], bool] = lambda: False,
        last_call: Callable[[], None] = lambda: None,
    ) -> None:
        self.job = job
        self.ledger = Ledger(job, paths, state.records())
        self._paths = paths
        self._state = state
        self._emit = emit
        self._gpus = gpus
        self._stays = stays
        self._last_call = last_call
        self._codes: dict[Address, int] = {}
        self._unchanged: set[Address] = set()
        self._prints: dict[Address, str] = {}
        self._cancelled: set[Address] = set()
        self._overtaken: set[Address] = set()
        self._doubtful: set[Address] = set()
        nodes = {node.address: node for node in job.nodes}
        planned = [p for p in job.plan.nodes if p.action.runs]
        self._scheduler = Scheduler([nodes[p.address] for p in planned], self._capacity())
        self._publisher = Publisher(paths)
        no_gpu = worker_environment((), has_gpus=bool(gpus.all))
        self._pool = WorkerPool(paths.run(job.run) / "workers.log", paths.state_dir, job.settings, no_gpu)
        self._shop = Workshop(
            paths=paths,
            state=state,
            ledger=self.ledger,
            publisher=self._publisher,
            pool=self._pool,
            gpus=gpus,
            secrets=secrets,
            emit=emit,
        )
        self._going: dict[Address, Making] = {}
        self._wake = anyio.Event()
        self._stopping = False
        self._over = False

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
            tasks.start_soon(self._publisher.run)
            await self._warm_up()
            try:
                while not await self._is_over():
                    for node in self._scheduler.start():
                        making = self._going[node.address] = Making(node, self.job, self._shop)
                        tasks.start_soon(self._run_node, making)
                    await self._wake.wait()
                    self._wake = anyio.Event()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._pool.close()
                    self._publisher.close()
            tasks.cancel_scope.cancel()

    async def _is_over(self) -> bool:
        """Ending the workers takes seconds in which people may ask for more: only then is it decided, for good."""
        if not self._scheduler.finished:
            return False
        await self._pool.close()
        self._last_call()
        self._over = self._scheduler.finished and (self._stopping or not self._stays())
        return self._over

    @property
    def _closed(self) -> str:
        """Why nothing more is taken in, or ""."""
        if self._over:
            return "the run has just ended"
        return "the run is being stopped" if self._stopping else ""

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
        if at_once or not self._stopping:
            self._emit(RunStopping(at_once=at_once))
        if not self._stopping:
            self._stopping = True
            self._overtaken.clear()
            for address in self._scheduler.skip_pending():
                self._emit(NodeSkipped(address=str(address), reason="the run was stopped"))
        for making in self._going.values():
            making.halt.ask(reason, at_once=at_once)
        self._wake.set()

    def cancel(self, address: Address) -> str:
        """Stop one node; returns why not, or ""."""
        making = self._going.get(address)
        if making is not None:
            making.halt.ask("cancelled")
            self._overtaken.discard(address)
            self._scheduler.forgo(address)
            return ""
        if self._scheduler.status.get(address) is not Status.PENDING:
            return f"{address} is not running"
        self._cancelled.add(address)
        self._emit(NodeSkipped(address=str(address), reason="cancelled"))
        self._settle(address, Status.SKIPPED)
        self._wake.set()
        return ""

    def retry(self, address: Address) -> str:
        if self._closed:
            return f"{address} is not tried again: {self._closed}"
        revived = self._scheduler.retry(address)
        if not revived:
            return f"{address} did not fail"
        for again in revived:
            self._emit(NodeQueued(address=str(again)))
        self._wake.set()
        return ""

    def pause(self, paused: bool) -> None:
        self._scheduler.paused = paused
        self._emit(RunPaused(paused=paused))
        self._wake.set()

    def prioritise(self, address: Address) -> None:
        self._scheduler.prioritise(address)
        self._wake.set()

    def ask_again(self) -> None:
        """Try anew what found, when it ran, that people are waited for."""
        if not self._closed:
            for address in self._scheduler.revive_waiting():
                self._emit(NodeQueued(address=str(address)))
            self._wake.set()

    def amend(self, wanted: Job) -> bool:
        """Go on with another plan; False: nothing follows from it."""
        if self._closed:
            self.notice(f"the new plan is not taken in: {self._closed}")
            return False
        before = self._standing()
        self.ledger.renew(wanted)
        found = amend(before, wanted, self.ledger)
        self.job = wanted.amending(self.job, found.plan)
        self._scheduler.capacity = self._capacity()
        nodes = {node.address: node for node in wanted.nodes}
        self._scheduler.amend([nodes[address] for address in found.status], found.status, found.again)
        for address, making in self._going.items():
            if not making.wanted and address in nodes:
                making.node, making.job = nodes[address], self.job
        self._unchanged &= set(found.status)
        self._cancelled &= {address for address, status in found.status.items() if status is Status.SKIPPED}
        if not found.changes(before):
            return False
        self._tell(found, before)
        self._doubtful = found.doubtful
        for address in found.again | found.dropped:
            self._overtaken.add(address)
            self._going[address].halt.ask(CHANGED if address in found.again else UNWANTED)
        self._wake.set()
        return True

    def _standing(self) -> Standing:
        running = {address: making.wanted for address, making in self._going.items()}
        return Standing(
            plan=self.job.plan,
            nodes={**{n.address: n for n in self.job.nodes}, **{a: m.node for a, m in self._going.items()}},
            status={**self._scheduler.status, **dict.fromkeys(self._going, Status.RUNNING)},
            prints={**self._prints, **running},
            overtaken=set(self._overtaken),
            cancelled=set(self._cancelled),
        )

    def _tell(self, found: Amendment, before: Standing) -> None:
        queued = [address for address, status in found.status.items() if status is Status.PENDING]
        records = self.ledger.records
        self._emit(
            RunAmended(
                plan=found.plan.to_json(),
                history={str(a): records[a].duration_s for a in queued if a in records and records[a].duration_s},
                queued=tuple(map(str, queued)),
            )
        )
        told = {planned.address: planned for planned in before.plan.nodes}
        for planned in found.plan.with_action(Action.WAIT):
            earlier = told.get(planned.address)
            # What still runs says so itself when it has ended.
            if planned.address not in self._going and (earlier is None or _said(earlier) != _said(planned)):
                self._emit(_held(planned))
        for address, status in found.status.items():
            if status is Status.SKIPPED and before.status.get(address) is not Status.SKIPPED:
                needs = self._scheduler.nodes[address].needs
                because = next(need for need in needs if found.status.get(need) in LOST)
                self._skipped(Skip(address, because, status))

    # How a node ends.

    async def _run_node(self, making: Making) -> None:
        address = making.address
        try:
            ending = await making.run()
        finally:
            del self._going[address]
            self._prints[address] = making.wanted
            self._wake.set()
        self._ended_with(making, ending)

    def _ended_with(self, making: Making, ending: Ending) -> None:
        address = making.address
        self._unchanged.discard(address)
        match ending:
            case Unchanged():
                self._unchanged.add(address)
                self._emit(NodeSkipped(address=str(address), reason="unchanged", unchanged=True))
                self._settle(address, Status.DONE)
            case Unapproved():
                self._emit(NodeWaiting(address=str(address), missing=("needs approval: --yes",), approval=True))
                self._settle(address, Status.WAITING)
            case NodeRecord():
                self._made(making, ending)
            case Result():
                self._failed(making, ending)
            case _:
                assert_never(ending)

    def _made(self, making: Making, record: NodeRecord) -> None:
        if record.address in self._doubtful:
            # What it read is not made yet: when it is, this is found unchanged or made anew.
            self._begin_again(record.address)
        self.ledger.add(record, overtaken=record.address in self._overtaken)
        self._emit(
            NodeFinished(
                address=str(record.address),
                duration_s=record.duration_s,
                earlier_s=making.earlier_s,
                digest=record.digest,
                facts=dict(record.facts),
                notes=record.notes,
                folder=str(self._paths.output(record.address)),
            )
        )
        self._settle(making.address, Status.DONE)

    def _failed(self, making: Making, result: Result) -> None:
        address, folder = making.address, self._paths.node_run(self.job.run, making.address)
        if result.error == "WaitingForPeople":
            leave_waiting(self._paths.staging(address, making.wanted))
            self._emit(NodeWaiting(address=str(address), missing=result.missing))
            self._settle(address, Status.WAITING)
            return
        interrupted = result.error == "StopRequested"
        self._codes[address] = result.exit_code or ExitCode.NODE_FAILED
        self._remember_attempt(making, Outcome.INTERRUPTED if interrupted else Outcome.FAILED, result.cause)
        self._emit(
            NodeFailed(
                address=str(address),
                cause=result.cause,
                hint=result.hint or (self._what_is_saved(making) if interrupted else ""),
                log=f"{address.folder}/{LOG_NAME}" if (folder / LOG_NAME).exists() else "",
                last_lines=end_of_log(folder),
                exit_code=result.exit_code or ExitCode.NODE_FAILED,
                interrupted=interrupted,
            )
        )
        self._settle(address, Status.STOPPED if interrupted else Status.FAILED)

    def _what_is_saved(self, making: Making) -> str:
        """Best effort: it is asked of a folder that was left in the middle of work."""
        staging = self._paths.staging(making.address, making.wanted)
        try:
            return what_is_saved(making.node, staging, REGISTRY) if making.wanted and staging.is_dir() else ""
        except (SpecrunError, OSError, ValueError) as error:
            self.notice(f"{making.address}: what it left could not be looked at: {error}", "warning")
            return ""

    def _remember_attempt(self, making: Making, outcome: Outcome, cause: str) -> None:
        """Best effort: the disk may be full, and the journal tells it too."""
        address, now = making.address, datetime.now(UTC).isoformat()
        try:
            self._state.put_attempt(
                Attempt(address, outcome, making.wanted, self.job.run, now, cause, making.node.resume)
            )
        except (StateError, OSError) as error:
            self.notice(f"{address}: its failure could not be kept in the state: {error}", "warning")

    def _settle(self, address: Address, status: Status) -> None:
        skipped = self._scheduler.settle(address, status)
        if address in self._overtaken:
            self._overtaken.discard(address)
            self._go_on_after(address)
        for skip in skipped:
            self._skipped(skip)
        self._compare_doubtful()

    def _compare_doubtful(self) -> None:
        """Stop what runs with other inputs than those that are made by now."""
        status = self._scheduler.status
        for address, making in self._going.items():
            needs = [status.get(used.address, Status.DONE) for used in making.node.inputs]
            if address not in self._doubtful or not all(need.settled for need in needs):
                continue
            self._doubtful.discard(address)
            if self.ledger.wanted(making.node)[1] != making.wanted:
                self._begin_again(address)
                making.halt.ask(CHANGED)

    def _begin_again(self, address: Address) -> None:
        self._doubtful.discard(address)
        self._overtaken.add(address)
        self._scheduler.begin_again(address)

    def _go_on_after(self, address: Address) -> None:
        """An overtaken node has ended: it waits for its turn again, or for what the plan says."""
        if self._scheduler.status.get(address) is Status.PENDING:
            self._emit(NodeQueued(address=str(address)))
            return
        planned = next((node for node in self.job.plan.nodes if node.address == address), None)
        if planned is not None and planned.action in (Action.WAIT, Action.DISABLED):
            self._emit(_held(planned))

    def _skipped(self, skip: Skip) -> None:
        if skip.status is Status.WAITING:
            self._emit(NodeWaiting(address=str(skip.address), missing=(f"waits for {skip.because}",)))
            return
        fates = {Status.FAILED: "failed", Status.STOPPED: "was stopped"}
        fate = fates.get(self._scheduler.status[skip.because], "did not run")
        self._emit(NodeSkipped(address=str(skip.address), reason=f"needs {skip.because}, which {fate}"))

    def notice(self, text: str, level: str = "info") -> None:
        self._emit(Notice(text=text, level=level))


def _said(planned: PlannedNode) -> tuple[Action, tuple[str, ...]]:
    return planned.action, tuple(reason.text for reason in planned.reasons)


def _held(planned: PlannedNode) -> Event:
    reasons = tuple(reason.text for reason in planned.reasons)
    if planned.action is Action.WAIT:
        return NodeWaiting(address=str(planned.address), missing=reasons)
    return NodeSkipped(address=str(planned.address), reason=", ".join(reasons))
