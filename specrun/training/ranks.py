"""Training in several processes of this machine, one a GPU or a share of the CPU: started, followed and ended.

A folder holds all that they tell of each other:

    job.json          what every rank reads
    reports.jsonl     rank 0: progress, metrics and log, a line each
    result.json       rank 0: what came out
    failed-1.json     a rank: why it failed
    output-1.txt      a rank: all that it printed, which goes to the node's log as well
    stop              an empty file: every rank shall save what it has and end

The launchers of torch and of the trainers were rejected: torchrun puts the ranks into sessions of their own, where
they survive the worker, and a failed rank says no more than "exit status 1". These stay in the worker's process group,
whose end is theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from specrun.errors import NodeError, OutOfMemory, SpecrunError, StopRequested

Program = Sequence[str]
"""Arguments of the Python of a rank; the path of the job follows."""
STOP = "stop"
LOOPBACK = "127.0.0.1"
_POLL_S = 0.1
_GRACE_S = 10.0
"""For the other ranks to fail by themselves or to be ended by a signal."""
_LAST_LINES = 8


class Listener(Protocol):
    """What a rank tells; a Context is one."""

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None: ...
    def metric(self, name: str, step: float, value: float) -> None: ...
    def log(self, text: str) -> None: ...


class Following(Listener, Protocol):
    """The side of the worker; a Context is one."""

    def stop_requested(self) -> bool: ...


def prepare(folder: Path, job: Mapping[str, Any]) -> Path:
    """The folder with a new job, and nothing that earlier ranks left."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    write_json(folder / "job.json", job)
    return folder


def run_ranks(
    folder: Path, count: int, ctx: Following, program: Program, *, threads: int, stops_itself: bool = False
) -> None:
    """Start the ranks on `folder`'s job and follow them to their end.

    threads: of each. stops_itself: the ranks look for the file `stop`, save and end; else they are ended.
    Raises StopRequested, OutOfMemory, NodeError (the first failure); no rank is left behind.
    """
    processes: list[subprocess.Popen[bytes]] = []
    follower = Follower(folder / "reports.jsonl", ctx)
    outputs = [OutputFollower(output_path(folder, rank)) for rank in range(count)]
    ends = Ends(processes, folder)
    with _store(count) as port:
        try:
            for rank in range(count):
                environ = {**os.environ, **rank_environment(rank, count, port), "OMP_NUM_THREADS": str(threads)}
                processes.append(_start(folder, rank, program, environ))
            while ends.wait():
                follower.forward()
                for output in outputs:
                    output.forward()
                if ctx.stop_requested():
                    if not stops_itself:
                        raise StopRequested("stopped because the run was asked to stop")
                    (folder / STOP).touch()
        finally:
            _end(processes)
            follower.forward()
            for output in outputs:
                output.finish()
    if any(process.returncode for process in processes):
        raise failure(folder, ends.codes)


def _start(folder: Path, rank: int, program: Program, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with open(output_path(folder, rank), "wb") as output:
        return subprocess.Popen(
            [sys.executable, *program, str(folder / "job.json")],
            env={**environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def _store(count: int) -> Iterator[int]:
    """Where the ranks find each other. Held open here, so that nobody else can take its port in between."""
    from torch.distributed import TCPStore  # heavy

    store = TCPStore(LOOPBACK, 0, count, is_master=True, wait_for_workers=False)
    try:
        yield store.port
    finally:
        del store


def rank_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torch.distributed, Lightning and Ultralytics read, as torchrun sets it on one machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        **_gloo_environment(),
    }


def _gloo_environment() -> dict[str, str]:
    """Gloo asks for the address of this machine's name, which may be unknown, or that of a network."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == LOOPBACK for address in addresses):
            return {"GLOO_SOCKET_IFNAME": name}
    return {}


@dataclass
class Ends:
    """How the ranks ended. codes: rank → exit status, of those that ended by themselves, in that order."""

    processes: Sequence[subprocess.Popen[bytes]]
    folder: Path
    codes: dict[int, int] = field(default_factory=dict)
    _give_up: float | None = None

    def wait(self) -> bool:
        """A moment; False when all have ended, or one failed and the others had time to say why themselves."""
        for rank, process in enumerate(self.processes):
            if rank not in self.codes and (code := process.poll()) is not None:
                self.codes[rank] = code
        if len(self.codes) == len(self.processes):
            return False
        if self._give_up is None and any(self.codes.values()):
            self._give_up = time.monotonic() + _GRACE_S
        if self._give_up is not None and (time.monotonic() > self._give_up or self._is_told()):
            return False
        time.sleep(_POLL_S)
        return True

    def _is_told(self) -> bool:
        """A rank that said why it failed ended the others; one that stops waits until all have saved."""
        return any(one["error"] != StopRequested.__name__ for one in told_failures(self.folder))


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + _GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def told_failures(folder: Path) -> list[Mapping[str, Any]]:
    """The first one first: the others may only have lost it."""
    return [read_json(path) for path in sorted(folder.glob("failed-*.json"), key=lambda path: path.stat().st_mtime_ns)]


def failure(folder: Path, codes: Mapping[int, int]) -> SpecrunError:
    """Why the ranks ended. codes: as in Ends.

    The cause is a lack of memory where one rank tells of it, then a rank that was killed: what the others tell then is
    that they lost it. A rank that aborts without a word mostly did so because it lost another.
    """
    told = told_failures(folder)
    for one in told:
        if one["error"] == OutOfMemory.__name__:
            return OutOfMemory(one["message"], hint=one["hint"])
    known = {one["rank"] for one in told}
    silent = [rank for rank, code in codes.items() if code and rank not in known]
    killed = [rank for rank in silent if codes[rank] < 0 and codes[rank] != -signal.SIGABRT]
    failed = [one for one in told if one["error"] != StopRequested.__name__]
    if killed and not any(one["expected"] for one in failed):
        return _silent_failure(folder, killed[0], codes[killed[0]])
    if failed:
        return NodeError(f"rank {failed[0]['rank']}: {failed[0]['message']}", hint=failed[0]["hint"])
    if silent:
        return _silent_failure(folder, silent[0], codes[silent[0]])
    if told:
        return StopRequested(told[0]["message"])
    return NodeError("the ranks had to be ended, and none of them said why.")


def _silent_failure(folder: Path, rank: int, code: int) -> NodeError:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    lines = last_lines(output_path(folder, rank))
    said = " Its last lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else " It had printed nothing."
    hint = "A process that is killed without a word mostly ran out of main memory: lower resources or train.workers."
    return NodeError(f"rank {rank} {how} without saying why.{said}", hint=hint if code == -signal.SIGKILL else None)


def output_path(folder: Path, rank: int) -> Path:
    return folder / f"output-{rank}.txt"


def last_lines(path: Path, count: int = _LAST_LINES) -> list[str]:
    """Of a bar that is drawn over and over, its last state."""
    try:
        text = path.read_bytes()[-1 << 16 :].decode(errors="replace")
    except FileNotFoundError:
        return []
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in lines if line][-count:]


class _Tail:
    """What was written to a file since the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self, *ends: bytes) -> bytes:
        """Up to the last of `ends`; all of it where none is given."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return b""
        whole = data[: max(data.rfind(end) for end in ends) + 1] if ends else data
        self._offset += len(whole)
        return whole


class OutputFollower:
    """Hands on what a rank printed, whole lines or states of a bar, so that those of several do not mix."""

    def __init__(self, path: Path) -> None:
        self._tail = _Tail(path)

    def forward(self) -> None:
        self._print(self._tail.read(b"\n", b"\r"))

    def finish(self) -> None:
        self._print(self._tail.read())

    def _print(self, data: bytes) -> None:
        sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()


class Follower:
    """Hands on what rank 0 reported since the last time, whole lines only."""

    def __init__(self, path: Path, report: Listener) -> None:
        self._tail = _Tail(path)
        self._report = report

    def forward(self) -> None:
        for line in self._tail.read(b"\n").splitlines():
            name, *values = json.loads(line)
            match name:
                case "progress":
                    *told, part = values
                    self._report.progress(*told, part=part)
                case "metric":
                    self._report.metric(*values)
                case "log":
                    self._report.log(*values)


class RankReport:
    """On the side of a rank what a Context is in a worker. leads: only rank 0 tells."""

    def __init__(self, folder: Path, *, leads: bool = True) -> None:
        self._path = folder / "reports.jsonl"
        self._stop = folder / STOP
        self._leads = leads

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None:
        self._write("progress", done, total, unit, phase, part)

    def metric(self, name: str, step: float, value: float) -> None:
        self._write("metric", name, step, value)

    def log(self, text: str) -> None:
        self._write("log", text)

    def stop_requested(self) -> bool:
        return self._stop.exists()

    def check_stop(self) -> None:
        """Raises StopRequested."""
        if self.stop_requested():
            raise StopRequested("stopped because the run was asked to stop")

    def _write(self, *values: object) -> None:
        if self._leads:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")


def carry_out(job: Path, work: Callable[[dict[str, Any], RankReport], Mapping[str, Any]]) -> int:
    """A rank's program: the work on a job, its end told in the job's folder. Returns the exit status."""
    rank, folder = int(os.environ["RANK"]), job.parent
    try:
        result = work(read_json(job), RankReport(folder, leads=rank == 0))
    except Exception as error:  # the boundary of the process: the worker must learn why
        expected = error if isinstance(error, SpecrunError) else None
        if expected is None:
            traceback.print_exc()
        told = {
            "rank": rank,
            "error": type(error).__name__,
            "expected": expected is not None,
            "message": expected.message if expected else f"{type(error).__name__}: {error}",
            "hint": expected.hint if expected else None,
        }
        write_json(folder / f"failed-{rank}.json", told)
        return 1
    if rank == 0:
        write_json(folder / "result.json", result)
    return 0


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)
