"""The supervisor owns a run: lock, journal, executor, samples, signals and what people ask of it.

In the foreground it is the CLI's own process; under a dashboard it is `python -m specrun.run.supervisor
RUN_FOLDER`, in a session of its own, so that closing the terminal does not end the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psutil

from specrun.errors import ExitCode, SpecrunError, StateError, StopRequested
from specrun.model.event import Event, MachineSample, Notice, RunFinished, RunStarted
from specrun.model.state import RunRecord
from specrun.run.control import Ask, ControlReader, Wanted
from specrun.run.executor import Executor
from specrun.run.gpu import Gpus, load_nvml
from specrun.run.job import JOB_NAME, SPEC_MEMORY, Job
from specrun.run.listeners import UNHURRIED, Listener, Listeners
from specrun.run.old_runs import forget_old_runs
from specrun.run.patience import Patience
from specrun.run.replanning import replan
from specrun.run.secrets import Secrets
from specrun.run.tally import exit_code
from specrun.spec.environment import with_env_files
from specrun.store.filesystem import disk_free
from specrun.store.journal import JOURNAL_NAME, JournalWriter
from specrun.store.locks import ProjectLock
from specrun.store.paths import ProjectPaths
from specrun.store.recover import recover
from specrun.store.state import State
from specrun.store.trash import collect_trash, sweep_trash

SAMPLE_INTERVAL_S = 2.0
CONTROL_INTERVAL_S = 0.25
ASK_MOST_POLLS = 10
MIB = 1 << 20
_STATUSES = {ExitCode.DONE: "done", ExitCode.WAITING: "waiting", ExitCode.INTERRUPTED: "interrupted"}


@dataclass(kw_only=True)
class Supervision:
    """What a run needs besides its job. listeners: called with every event, numbered and dated.
    tick: called a few times a second."""

    listeners: Sequence[Listener] = ()
    tick: Callable[[], None] = lambda: None
    gpus: Gpus | None = None
    environ: Mapping[str, str] | None = None
    operation: str = "apply"


def supervise(job: Job, how: Supervision | None = None) -> ExitCode:
    """Run a job to its end. Raises LockedError; StateError."""
    paths = ProjectPaths(job.project_dir, job.output_root)
    paths.create()
    asked = how or Supervision()
    with ProjectLock(paths.lock).hold(asked.operation), State.open(paths.state_db) as state:
        recover(state, paths)
        state.mark_crashed_runs()
        state.remember(SPEC_MEMORY, "spec_file", Path(job.spec_file).name)
        folder = paths.run(job.run)
        job.save(folder)
        listeners = Listeners(asked.listeners, asked.tick)
        with JournalWriter(folder / JOURNAL_NAME, job.run) as journal:
            run = _Run(job, paths, state, journal, asked, listeners.hear)
            try:
                code = anyio.run(run.main)
            except BaseException:
                # Whatever it was is told by the exception; a second trouble must not hide it.
                with contextlib.suppress(Exception):
                    run.put_run("crashed", ExitCode.OUR_FAULT)
                raise
            finally:
                listeners.close()
        if run.trouble is not None:
            raise run.trouble
        trash = collect_trash(state, paths)
    # Deleting may take long, and keeps nobody out.
    sweep_trash(trash)
    return code


class _Run:
    """trouble: what kept the journal from being written; the run was stopped because of it."""

    def __init__(
        self,
        job: Job,
        paths: ProjectPaths,
        state: State,
        journal: JournalWriter,
        how: Supervision,
        hear: Listener,
    ) -> None:
        self._job = job
        self._paths = paths
        self._state = state
        self._journal = journal
        self._how = how
        self._hear = hear
        self.trouble: StateError | None = None
        self._executor: Executor | None = None
        self._gpus = how.gpus if how.gpus is not None else find_gpus(job.settings)
        self._stopped_by: ExitCode | None = None
        self._interrupts = 0
        self._control = ControlReader(paths.run(job.run))

    def emit(self, event: Event) -> None:
        """Never raises: a full disk stops the run gracefully instead of tearing it apart."""
        try:
            data = self._journal.append(event)
            if not isinstance(event, UNHURRIED):
                self._journal.flush()
        except StateError as error:
            self._in_trouble(error)
            return
        self._hear(replace(event, run=data["run"], seq=data["seq"], time=data["time"]))

    def _in_trouble(self, error: StateError) -> None:
        if self.trouble is None:
            self.trouble = error
            if self._executor is not None:
                self._executor.stop(error.message)

    async def main(self) -> ExitCode:
        began = time.monotonic()
        self._start()
        environ = with_env_files(self._job.project_dir, self._how.environ or os.environ)
        secrets = Secrets(self._job.settings, environ, self._job.project_dir)
        executor = self._executor = Executor(
            self._job,
            self._paths,
            self._state,
            self.emit,
            gpus=self._gpus,
            secrets=secrets,
            stays=self._stays,
            last_call=self._hear_people,
        )
        self._say_no_gpu(executor)
        old_runs = forget_old_runs(self._state, self._paths, self._job)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, sweep_trash, old_runs)
            tasks.start_soon(self._listen_to_signals, executor)
            tasks.start_soon(self._listen_to_people)
            tasks.start_soon(self._sample)
            if self._job.poll_s is not None:
                tasks.start_soon(self._wait_for_people, executor, self._job.poll_s)
            await executor.run()
            tasks.cancel_scope.cancel()
        return self._finish(executor, time.monotonic() - began)

    def _start(self) -> None:
        history = {str(a): r.duration_s for a, r in self._state.records().items() if r.duration_s}
        self.put_run("running", None)
        self.emit(
            RunStarted(
                project=self._job.project,
                spec=self._job.spec_file,
                plan=self._job.plan.to_json(),
                history=history,
                pid=os.getpid(),
                host=socket.gethostname(),
                output_root=str(self._paths.output_root),
                gpus=tuple({"index": g.index, "name": g.name, "uuid": g.uuid} for g in self._gpus.usable),
            )
        )

    def _finish(self, executor: Executor, took_s: float) -> ExitCode:
        tally = executor.tally
        code = exit_code(tally, stopped_by=self._stopped_by)
        status = _STATUSES.get(code, "failed")
        if self._stopped_by is not None:
            status = "interrupted"
        self.emit(
            RunFinished(
                status=status,
                exit_code=int(code),
                duration_s=took_s,
                finished=tally.finished,
                failed=tally.failed,
                skipped=tally.skipped,
                unchanged=tally.unchanged,
                waiting=tally.waiting,
                stopped=tally.stopped,
            )
        )
        if code is ExitCode.DONE:
            for record in executor.ledger.lived_on():
                self._state.put_record(record)
        self.put_run(status, code, done=tally.finished + tally.unchanged)
        return code

    def put_run(self, status: str, code: ExitCode | None, done: int = 0) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        if code is None:
            self._began_at = now
        self._state.put_run(
            RunRecord(
                id=self._job.run,
                started_at=self._began_at,
                ended_at=None if code is None else now,
                status=status,
                exit_code=None if code is None else int(code),
                pid=os.getpid(),
                done=done,
                total=sum(n.action.runs for n in (self._executor.job if self._executor else self._job).plan.nodes),
            )
        )

    def _say_no_gpu(self, executor: Executor) -> None:
        wanting = [n for n in self._job.nodes if n.resources.gpus]
        running = {p.address for p in self._job.plan.nodes if p.action.runs}
        if not self._gpus.usable and any(n.address in running for n in wanting):
            executor.notice("no GPU to be had here: what asks for one runs on the CPU")

    async def _listen_to_signals(self, executor: Executor) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                self._interrupts += 1
                again = self._interrupts > 1
                code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
                self._stop(executor, code, at_once=again)

    def _stop(self, executor: Executor, code: ExitCode, *, at_once: bool) -> None:
        self._stopped_by = self._stopped_by or code
        executor.stop("the run was stopped", at_once=at_once)

    async def _listen_to_people(self) -> None:
        while True:
            await anyio.sleep(CONTROL_INTERVAL_S)
            self._hear_people()
            try:
                self._journal.flush()
            except StateError as error:
                self._in_trouble(error)

    def _hear_people(self) -> None:
        if self._executor is not None:
            for wanted in self._control.poll():
                self._obey(wanted, self._executor)

    def _obey(self, wanted: Wanted, executor: Executor) -> None:
        answer = ""
        match wanted:
            case Wanted(Ask.STOP, _):
                self._stop(executor, ExitCode.INTERRUPTED, at_once=False)
            case Wanted(Ask.KILL, _):
                self._stop(executor, ExitCode.INTERRUPTED, at_once=True)
            case Wanted(Ask.PAUSE | Ask.GO_ON as ask, _):
                executor.pause(ask is Ask.PAUSE)
            case Wanted(Ask.CANCEL, address) if address is not None:
                answer = executor.cancel(address)
            case Wanted(Ask.RETRY, address) if address is not None:
                answer = executor.retry(address)
            case Wanted(Ask.PRIORITISE, address) if address is not None:
                executor.prioritise(address)
            case Wanted(Ask.AMEND, _, name):
                answer = self._amend(name, executor)
        if answer:
            self.emit(Notice(text=answer, level="warning"))

    def _amend(self, name: str, executor: Executor) -> str:
        """Returns why not, or ""."""
        folder = self._paths.run(self._job.run)
        try:
            wanted = Job.load(folder / Path(name).name)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"{name}: not a job that the run could go on with ({error})"
        self._take_in(wanted, executor)
        return ""

    def _take_in(self, wanted: Job, executor: Executor) -> None:
        if executor.amend(wanted):
            try:
                executor.job.save_copies(self._paths.run(self._job.run))
            except OSError as error:
                executor.notice(f"plan.json could not be written: {error.strerror}", "warning")

    def _stays(self) -> bool:
        """Whether the run waits for people instead of ending."""
        executor = self._executor
        return self._job.poll_s is not None and executor is not None and executor.tally.waiting > 0

    async def _wait_for_people(self, executor: Executor, poll_s: float) -> None:
        """Look now and then whether what people owe has come; what became possible is run.

        What only a node's own work can see is tried anew, ever less often.
        """
        said = False
        polls, ask_at, pause = 0, 1, 1
        while True:
            if self._stays() and not said:
                said = True
                executor.notice(f"waits for people: looks every {poll_s:g} s")
            await anyio.sleep(poll_s)
            if not self._stays():
                continue
            polls += 1
            try:
                wanted = await self._replan(executor.job)
            except (SpecrunError, OSError) as error:
                executor.notice(f"nobody could be asked: {error}; it is tried again in {poll_s:g} s", "warning")
                continue
            self._take_in(wanted, executor)
            if polls >= ask_at:
                pause = min(2 * pause, ASK_MOST_POLLS)
                ask_at = polls + pause
                executor.ask_again()

    async def _replan(self, job: Job) -> Job:
        """The run does not stay for a server that does not answer."""
        leaving = threading.Event()

        def check() -> None:
            if leaving.is_set():
                raise StopRequested("the run ends")

        try:
            return await anyio.to_thread.run_sync(
                replan, job, self._paths, Patience(check=check), abandon_on_cancel=True
            )
        finally:
            leaving.set()

    async def _sample(self) -> None:
        psutil.cpu_percent()
        while True:
            await anyio.sleep(SAMPLE_INTERVAL_S)
            for sample in self._gpus.samples():
                self.emit(sample)
            memory = psutil.virtual_memory()
            self.emit(
                MachineSample(
                    cpu=psutil.cpu_percent(),
                    cores=os.cpu_count() or 1,
                    memory_used_mib=(memory.total - memory.available) / MIB,
                    memory_total_mib=memory.total / MIB,
                    disk_free_bytes=disk_free(self._paths.output_root),
                )
            )


def find_gpus(settings: Mapping[str, Any]) -> Gpus:
    """Those that `settings.executor.gpus` allows: auto, a count, or a list of indices."""
    wanted = settings.get("executor", {}).get("gpus", "auto")
    nvml = load_nvml()
    if isinstance(wanted, list):
        return Gpus(nvml, allowed=[int(i) for i in wanted])
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        return Gpus(nvml, allowed=range(wanted))
    return Gpus(nvml)


def main() -> int:
    """Entry of the detached supervisor: errors go to standard error, which is `supervisor.log`."""
    job = Job.load(Path(sys.argv[1]) / JOB_NAME)
    try:
        return int(supervise(job))
    except SpecrunError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
