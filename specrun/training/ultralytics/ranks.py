"""Training on several GPUs: one process a GPU, watched through the files that they write.

    <folder>/.work/ranks/job.json         what every rank reads
    <folder>/.work/ranks/reports.jsonl    rank 0: progress, metrics and log, a line each
    <folder>/.work/ranks/result.json      rank 0: the metrics of the best checkpoint
    <folder>/.work/ranks/failed-1.json    a rank: why it failed

The library's own launch was rejected: it deletes the folder that it trains into, callbacks reach its ranks only as
pickles, a failed rank says no more than "exit status 1", and torchrun puts the ranks into sessions of their own, where
they survive the worker. These stay in the worker's process group, whose end is theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from specrun.errors import NodeError, OutOfMemory
from specrun.model.work import Context
from specrun.training.ultralytics.checkpoints import WORK, TrainingState, load_state
from specrun.training.ultralytics.epochs import Report, Training, memory_error

Program = Sequence[str]
PROGRAM: Program = ("-m", "specrun.training.ultralytics.rank")
"""Arguments of the Python of a rank; the path of the job follows."""
_POLL_S = 0.1
_GRACE_S = 10.0
"""For the other ranks to fail by themselves or to be ended by a signal."""


def run_epochs_in_ranks(
    training: Training, state: TrainingState, checkpoint: Path | None, ctx: Context, program: Program = PROGRAM
) -> dict[str, Any]:
    """As epochs.run_epochs; the state on disk is the ranks' when it returns or raises."""
    if state.batch is None and training.automatic_batch:
        state.batch = _batch_by_probing(training, state, checkpoint, ctx, program)
    folder = _prepare(training, state, checkpoint)
    try:
        run_ranks(folder, training.gpus, ctx, program, threads=max(1, ctx.cpus // training.gpus))
    except OutOfMemory as error:
        raise memory_error(training, load_state(training.folder) or state) from error
    return read_json(folder / "result.json")


def _batch_by_probing(
    training: Training, state: TrainingState, checkpoint: Path | None, ctx: Context, program: Program
) -> int:
    """The library's AutoBatch knows one GPU only: what fits there, times the GPUs."""
    folder = _prepare(training, state, checkpoint, probe=True)
    run_ranks(folder, 1, ctx, program, threads=max(1, ctx.cpus))
    batch = int(read_json(folder / "result.json")["batch"]) * training.gpus
    ctx.log(f"batch: auto is {batch}, for {training.gpus} GPUs")
    return batch


def _prepare(training: Training, state: TrainingState, checkpoint: Path | None, *, probe: bool = False) -> Path:
    folder = training.folder / WORK / "ranks"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    described = {**asdict(training), "data": str(training.data), "folder": str(training.folder)}
    job = {
        "training": described,
        "state": asdict(state),
        "checkpoint": str(checkpoint) if checkpoint else None,
        "probe": probe,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    return folder


def run_ranks(folder: Path, count: int, ctx: Context, program: Program, *, threads: int) -> None:
    """Start the ranks on `folder`'s job and follow them to their end.

    Raises StopRequested, OutOfMemory, NodeError (the first failure); no rank is left behind.
    """
    with _store(count) as port:
        processes = [
            subprocess.Popen(
                [sys.executable, *program, str(folder / "job.json")],
                env={**os.environ, **rank_environment(rank, count, port), "OMP_NUM_THREADS": str(threads)},
                stdin=subprocess.DEVNULL,
            )
            for rank in range(count)
        ]
        follower = Follower(folder / "reports.jsonl", ctx)
        try:
            for _ in _waiting(processes, folder):
                follower.forward()
                ctx.check_stop()
        finally:
            _end(processes)
            follower.forward()
        codes = [process.returncode for process in processes]
        if any(codes):
            raise failure(folder, codes)


@contextlib.contextmanager
def _store(count: int) -> Iterator[int]:
    """Where the ranks find each other. Held open here, so that nobody else can take its port in between."""
    from torch.distributed import TCPStore  # heavy

    store = TCPStore("127.0.0.1", 0, count, is_master=True, wait_for_workers=False)
    try:
        yield store.port
    finally:
        del store


def rank_environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torch.distributed and Ultralytics read, as torchrun sets it on one machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }


def _waiting(processes: Sequence[subprocess.Popen[bytes]], folder: Path) -> Iterator[None]:
    """Again and again, until all have ended, or one failed and the others had time to say why themselves."""
    give_up: float | None = None
    while any(process.poll() is None for process in processes):
        yield
        if give_up is None and any(process.poll() for process in processes):
            give_up = time.monotonic() + _GRACE_S
        if give_up is not None and (time.monotonic() > give_up or _failed(folder)):
            return
        time.sleep(_POLL_S)


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


def _failed(folder: Path) -> list[Mapping[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob("failed-*.json"))]


def failure(folder: Path, codes: Sequence[int]) -> NodeError:
    """Why the ranks ended. A lack of memory is the cause where one rank tells of it; the others only lost it."""
    told = _failed(folder)
    for one in told:
        if one["error"] == OutOfMemory.__name__:
            return OutOfMemory(one["message"], hint=one["hint"])
    if told:
        return NodeError(f"rank {told[0]['rank']}: {told[0]['message']}", hint=told[0]["hint"])
    ended = ", ".join(f"rank {rank}: {code}" for rank, code in enumerate(codes))
    hint = "A rank that is killed (-9) without a word mostly ran out of main memory: lower resources or train.workers."
    return NodeError(f"the ranks ended without saying why (exit status {ended}).", hint=hint)


class Follower:
    """Hands on what rank 0 wrote since the last time, whole lines only."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report
        self._offset = 0

    def forward(self) -> None:
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            name, *values = json.loads(line)
            match name:
                case "progress":
                    self._report.progress(*values)
                case "metric":
                    self._report.metric(*values)
                case "log":
                    self._report.log(*values)


class RankReport:
    """A Report on the side of rank 0. A stop comes as a signal from the process that started the rank."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def progress(self, done: float, total: float | None = None, unit: str = "", phase: str = "") -> None:
        self._write("progress", done, total, unit, phase)

    def metric(self, name: str, step: float, value: float) -> None:
        self._write("metric", name, step, value)

    def log(self, text: str) -> None:
        self._write("log", text)

    def check_stop(self) -> None:
        pass

    def _write(self, *values: object) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)
