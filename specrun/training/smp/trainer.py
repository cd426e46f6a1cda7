"""Training with Lightning, from an export to weights; going on where an earlier attempt ended."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from specrun.errors import NodeError, OutOfMemory
from specrun.model.work import Context
from specrun.training.oom import Batch
from specrun.training.ranks import Program, prepare, read_json, run_ranks
from specrun.training.smp import checkpoints
from specrun.training.smp.checkpoints import WORK, TrainingState
from specrun.training.smp.data import Export
from specrun.training.smp.sharing import share_images
from specrun.training.smp.training import Training, free_memory

CPU_BATCH = 8
_SHARE_FOR_CACHE = 0.25


@dataclass(frozen=True)
class Ranks:
    """How the same training is carried out in several processes. job: the program builds it from that."""

    program: Program
    job: Mapping[str, Any]


def train(training: Training, ranks: Ranks, ctx: Context) -> TrainingState:
    """Train to the end. Raises StopRequested (a checkpoint stays), OutOfMemory, FormatError, NodeError."""
    state = _begin(training, ranks, ctx)
    if state.finished:
        ctx.log("training was finished before; going on with what comes after it")
        return state
    while True:
        try:
            state = _attempt(training, ranks, state, ctx)
            break
        except OutOfMemory as error:
            failure = error
        # Outside of `except`: the traceback would keep the tensors alive.
        state = _with_smaller_batch(training, checkpoints.load_state(training.folder) or state, failure, ctx)
        del failure
        free_memory()
    state.finished = True
    state.save(training.folder)
    shutil.rmtree(training.folder / WORK, ignore_errors=True)
    return state


def _begin(training: Training, ranks: Ranks, ctx: Context) -> TrainingState:
    """The state to go on from. A training that ended goes on when more epochs are wanted than it was given, except
    where it stopped by itself before them; with fewer epochs than it has, it starts over."""
    state = checkpoints.load_state(training.folder) if training.resume else None
    wanted = training.train.epochs
    if state is None or state.key != training.key or len(state.rows) > wanted:
        checkpoints.start_over(training.folder)
        state = _first_state(training, ranks, ctx)
    elif state.finished and state.stopped_early and wanted > state.wanted:
        ctx.log(f"training stopped by itself after epoch {len(state.rows)}; more epochs change nothing")
    elif state.finished and wanted > len(state.rows):
        ctx.log(f"training was given {state.wanted} epochs before; going on to {wanted}")
        state.finished = False
    if not state.finished:
        _share_anew(training, state, ctx)
    state.wanted = wanted
    state.save(training.folder)
    return state


def _first_state(training: Training, ranks: Ranks, ctx: Context) -> TrainingState:
    """As if one process did it all; see _share_anew."""
    train, written = training.train, training.train.batch
    size = written if isinstance(written, int) else _automatic_batch(training, ranks, ctx)
    # Where nothing says how many GPUs `batch` is meant for, those that were leased share it; `auto` is for each.
    devices = train.devices if isinstance(written, int) else max(train.devices, training.gpus)
    most = 0 if isinstance(written, int) else size
    state = TrainingState(key=training.key, batch=size * devices, accumulate=train.accumulate, most=most)
    state.monitor = train.checkpoints.monitor
    return state


def _share_anew(training: Training, state: TrainingState, ctx: Context) -> None:
    """Over the processes that there are now; a step of the optimizer sees as many images as before."""
    written, wanted = training.train.batch, training.train.devices
    processes, most = training.gpus or wanted, state.most or (written if isinstance(written, int) else state.batch)
    share = share_images(state.share.images, state.accumulate, most=most, processes=processes)
    state.take(share)
    if max(wanted, processes) == 1:
        return
    place = ("GPU" if share.world == 1 else "GPUs") if training.gpus else "processes on the CPU"
    idle = f"; {share.images} cannot be shared by {processes}" if share.world < processes else ""
    ctx.log(
        f"{share.world} {place}, {share.batch} images at a time on each{idle}; "
        f"{share.images * share.accumulate} images to a step of the optimizer"
    )


def _attempt(training: Training, ranks: Ranks, state: TrainingState, ctx: Context) -> TrainingState:
    """Go on with the state to the end; returns it as it is then."""
    # Lightning comes with it, which the worker of several ranks does not need.
    from specrun.training.smp.fitting import fit

    if state.world == 1:
        fit(training, state, ctx)
        return state
    _run(ranks, training, state, ctx, world=state.world)
    return checkpoints.load_state(training.folder) or state


def _run(
    ranks: Ranks, training: Training, state: TrainingState | None, ctx: Context, *, world: int
) -> Mapping[str, Any]:
    """state: None to look for the largest batch instead. Returns what rank 0 found."""
    job = {**ranks.job, "state": asdict(state) if state else None}
    folder = prepare(training.folder / WORK / "ranks", job)
    run_ranks(folder, world, ctx, ranks.program, threads=max(1, training.cpus // world), stops_itself=True)
    return read_json(folder / "result.json")


def _with_smaller_batch(training: Training, state: TrainingState, failure: OutOfMemory, ctx: Context) -> TrainingState:
    """In every process, whichever of them ran out of memory. Raises the failure: the spec does not want it, or there
    is nothing left to halve."""
    batch = Batch(state.batch, state.accumulate)
    smaller = batch.halved()
    if training.train.on_oom == "fail" or smaller is None:
        raise failure
    ctx.log(
        f"{failure.message} Batch {batch.size} → {smaller.size}, accumulate {batch.accumulation} → "
        f"{smaller.accumulation}"
    )
    state.batch, state.accumulate, state.most = smaller.size, smaller.accumulation, smaller.size
    state.save(training.folder)
    return state


def _automatic_batch(training: Training, ranks: Ranks, ctx: Context) -> int:
    if not training.gpus:
        ctx.log(f"train.batch: auto is {CPU_BATCH} on the CPU")
        return CPU_BATCH
    # Never in this process: what CUDA keeps for it would be missing in the training.
    size = int(_run(ranks, training, None, ctx, world=1)["batch"])
    ctx.log(f"train.batch: auto is {size}: the largest power of two that fits")
    return size


def fits_in_memory(needed_bytes: int) -> bool:
    """A quarter of the memory that is free, for all splits and processes together."""
    import psutil

    return bool(needed_bytes < _SHARE_FOR_CACHE * psutil.virtual_memory().available)


def require_images(export: Export) -> None:
    if not export.splits["train"]:
        raise NodeError(
            f"{export.folder}: the split train has no images.",
            hint="Give the dataset split ratios, for example split: {ratios: {train: 0.8, val: 0.2}}.",
        )
