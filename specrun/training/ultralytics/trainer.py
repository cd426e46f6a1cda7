"""Training with Ultralytics: go on, begin anew, or go on with smaller batches, around the library's own loop."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from typing import Any

from specrun.errors import OutOfMemory
from specrun.model.work import Context
from specrun.training.ranks import Program
from specrun.training.ultralytics import checkpoints, ranks
from specrun.training.ultralytics.checkpoints import TrainingState
from specrun.training.ultralytics.epochs import Training, batch_of, library_errors, run_epochs


def train(training: Training, ctx: Context, *, program: Program = ranks.PROGRAM) -> TrainingState:
    """Train to the end, or go on from where an earlier attempt was interrupted.

    program: what each rank runs where there are several GPUs.
    Raises StopRequested (the checkpoint of the last epoch stays), OutOfMemory, NodeError.
    """
    state = _begin(training, ctx)
    if state.finished:
        ctx.log("training was finished before; going on with what comes after it")
        return state
    while not state.finished:
        try:
            with library_errors(training, state):
                metrics = _attempt(training, state, ctx, program)
        except OutOfMemory as error:
            failure = error
        else:
            state = checkpoints.load_state(training.folder) or state
            state.metrics = {name: float(value) for name, value in metrics.items() if math.isfinite(float(value))}
            checkpoints.keep_resumable(training.folder)
            state.finished = True
            state.save(training.folder)
            continue
        # Outside of `except`: the traceback would keep the tensors alive.
        state = _with_smaller_batch(training, checkpoints.load_state(training.folder) or state, failure, ctx)
        del failure
        _free_memory()
    return state


def _begin(training: Training, ctx: Context) -> TrainingState:
    """The state to go on from. A training that ended goes on when more epochs are wanted than it was given, except
    where it stopped by itself before them; with fewer epochs than it has, it starts over, and so does one that was
    interrupted under another number of epochs."""
    state = checkpoints.load_state(training.folder) if training.resume else None
    wanted = training.epochs
    if state is None or state.key != training.key or not state.serves(wanted):
        if state is not None and state.key == training.key and state.epochs:
            ctx.log(f"training was given {state.wanted} epochs and had {state.epochs}; with {wanted} it begins anew")
        checkpoints.start_over(training.folder)
        state = TrainingState(key=training.key)
    elif state.finished and state.epochs < state.wanted:
        ctx.log(f"training stopped by itself after epoch {state.epochs}; more epochs change nothing")
    elif state.stopped and state.epochs < wanted:
        ctx.log(f"training was given {state.wanted} epochs before; going on to {wanted}")
        checkpoints.restore_complete(training.folder)
        state.stopped = state.finished = False
    state.wanted = wanted
    state.save(training.folder)
    return state


def _attempt(training: Training, state: TrainingState, ctx: Context, program: Program) -> Mapping[str, Any]:
    """One go at what is left to do; returns the metrics of the best checkpoint."""
    if state.stopped:
        return _validate_best(training, state, ctx)
    found = checkpoints.recover(training.folder)
    if found is None:
        checkpoints.start_over(training.folder)
        state.epochs = 0
    else:
        state.epochs = found[1]
        if found[1] >= training.epochs:
            return _end_here(training, state, ctx)
        checkpoints.allow_epochs(found[0], training.epochs)
        ctx.log(f"going on after epoch {found[1]}")
    state.save(training.folder)
    checkpoint = found[0] if found else None
    if training.gpus > 1:
        return ranks.run_epochs_in_ranks(training, state, checkpoint, ctx, program)
    return run_epochs(training, state, checkpoint, ctx)


def _end_here(training: Training, state: TrainingState, ctx: Context) -> Mapping[str, Any]:
    state.stopped = True
    state.save(training.folder)
    checkpoints.keep_complete(training.folder)
    return _validate_best(training, state, ctx)


def _with_smaller_batch(training: Training, state: TrainingState, failure: OutOfMemory, ctx: Context) -> TrainingState:
    """Raises the failure: the spec does not want it, or there is nothing left to halve."""
    batch = batch_of(training, state)
    smaller = batch.halved(max(training.gpus, 1)) if batch else None
    if batch is None or smaller is None or (training.on_oom == "fail" and not training.automatic_batch):
        raise failure
    ctx.log(
        f"{failure.message} Going on with a batch of {smaller.size} and a step after {smaller.accumulation} batches "
        f"instead of {batch.accumulation}: {smaller.effective} images a step, as many as before."
        if smaller.effective == batch.effective
        else f"{failure.message} Going on with a batch of {smaller.size}: {smaller.effective} images a step."
    )
    state.batch, state.accumulation = smaller.size, smaller.accumulation
    state.save(training.folder)
    return state


def _free_memory() -> None:
    import torch  # heavy

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _validate_best(training: Training, state: TrainingState, ctx: Context) -> Mapping[str, Any]:
    """What the library does after its last epoch, for a training that was killed in there."""
    # Heavy, in the prepared environment.
    from ultralytics import YOLO
    from ultralytics.utils.torch_utils import strip_optimizer

    ctx.log("all epochs were done before; validating the best checkpoint")
    checkpoints.restore_complete(training.folder)
    last, best = (training.folder / "weights" / name for name in ("last.pt", "best.pt"))
    results = strip_optimizer(last).get("train_results")
    strip_optimizer(best, updates={"train_results": results})
    model = YOLO(str(best))
    kept = {name: training.arguments[name] for name in ("imgsz", "plots") if name in training.arguments}
    if batch := batch_of(training, state):
        kept["batch"] = batch.size
    device = training.device.split(",")[0]
    found = model.val(**kept, data=str(training.data), device=device, save_dir=str(training.folder))
    metrics = dict(found.results_dict)
    metrics.pop("fitness", None)
    return metrics
