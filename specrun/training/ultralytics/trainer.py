"""Training with Ultralytics: progress, metrics, stop and resume around the library's own loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.errors import NodeError, OutOfMemory
from specrun.model.work import Context
from specrun.training.ultralytics import checkpoints
from specrun.training.ultralytics.checkpoints import DurableFile, TrainingState

_OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "unable to find an engine")


@dataclass(frozen=True, kw_only=True)
class Training:
    """weights: path of a checkpoint or architecture, or the name of a shipped one. data: of the view.

    arguments: the user's. folder: where the library writes. key: see TrainingState.
    """

    weights: str
    task: str | None
    data: Path
    arguments: Mapping[str, Any]
    folder: Path
    device: str
    key: str
    resume: bool


def train(training: Training, ctx: Context) -> TrainingState:
    """Train to the end, or go on from where an earlier attempt was interrupted.

    Raises StopRequested (the checkpoint of the last epoch stays), OutOfMemory, NodeError.
    """
    state = checkpoints.load_state(training.folder) if training.resume else None
    if state is None or state.key != training.key:
        checkpoints.start_over(training.folder)
        state = TrainingState(key=training.key)
        state.save(training.folder)
    if state.finished:
        ctx.log("training was finished before; going on with what comes after it")
        return state
    with _library_errors(training):
        metrics = _validate_best(training, ctx) if state.stopped else _run_epochs(training, state, ctx)
    state.metrics = {name: float(value) for name, value in metrics.items() if math.isfinite(float(value))}
    state.finished = True
    state.save(training.folder)
    return state


def _run_epochs(training: Training, state: TrainingState, ctx: Context) -> Mapping[str, Any]:
    from ultralytics import YOLO  # heavy, in the prepared environment

    found = checkpoints.recover(training.folder)
    if found is None:
        checkpoints.start_over(training.folder)
        state.epochs = 0
    elif found[1] >= _epochs_wanted(found[0]):
        state.epochs, state.stopped = found[1], True
        state.save(training.folder)
        checkpoints.keep_complete(training.folder)
        return _validate_best(training, ctx)
    else:
        state.epochs = found[1]
        ctx.log(f"going on after epoch {found[1]}")
    model = YOLO(str(found[0]) if found else training.weights, task=training.task)
    Watch(training.folder, state, ctx).attach(model)
    arguments = {**training.arguments, **_owned(training)}
    model.train(**arguments, resume=str(found[0]) if found else False)
    return dict(model.trainer.metrics)


def _owned(training: Training) -> dict[str, Any]:
    return {"data": str(training.data), "device": training.device, "save_dir": str(training.folder), "save": True}


def _epochs_wanted(checkpoint: Path) -> int:
    loaded = checkpoints.load_resumable(checkpoint)
    return int(loaded["train_args"]["epochs"]) if loaded else 0


def _validate_best(training: Training, ctx: Context) -> Mapping[str, Any]:
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
    kept = {name: training.arguments[name] for name in ("imgsz", "batch", "plots") if name in training.arguments}
    found = model.val(**kept, data=str(training.data), device=training.device, save_dir=str(training.folder))
    metrics = dict(found.results_dict)
    metrics.pop("fitness", None)
    return metrics


class Watch:
    """The library's callbacks as events of the run. The folder is left so that a kill costs one epoch at most."""

    def __init__(self, folder: Path, state: TrainingState, ctx: Context) -> None:
        self.folder = folder
        self.state = state
        self.ctx = ctx
        self.epoch = 0
        self.epochs = 0
        self.batch = 0
        self.batches = 1

    def attach(self, model: Any) -> None:
        model.add_callback("on_pretrain_routine_start", self.on_prepare)
        model.add_callback("on_train_start", self.on_train_start)
        model.add_callback("on_train_epoch_start", self.on_epoch_start)
        model.add_callback("on_train_batch_end", self.on_batch_end)
        model.add_callback("on_val_batch_end", self.on_batch_end)
        model.add_callback("on_fit_epoch_end", self.on_epoch_end)

    def on_prepare(self, trainer: Any) -> None:
        trainer.last = DurableFile(trainer.last)
        trainer.best = DurableFile(trainer.best)

    def on_train_start(self, trainer: Any) -> None:
        self.batches = len(trainer.train_loader) + len(trainer.test_loader)

    def on_epoch_start(self, trainer: Any) -> None:
        self.ctx.check_stop()
        self.epoch, self.epochs, self.batch = trainer.epoch, trainer.epochs, 0
        # The library would halve the batch by itself in the first epoch: other results than the spec says.
        trainer._oom_retries = _LIBRARY_OOM_RETRIES

    def on_batch_end(self, _: Any) -> None:
        """Also after each batch of the validation. A stop loses the epoch: half of one is no checkpoint."""
        self.ctx.check_stop()
        self.batch += 1
        if self.state.stopped:
            self.ctx.progress(self.epochs, self.epochs, "epochs", "validating the best checkpoint")
            return
        done = self.epoch + min(self.batch / self.batches, 1.0)
        self.ctx.progress(done, self.epochs, "epochs", f"epoch {self.epoch + 1}/{self.epochs}")

    def on_epoch_end(self, trainer: Any) -> None:
        """Comes once more after the last epoch, with the metrics of the best checkpoint."""
        if self.state.stopped:
            return
        step = trainer.epoch + 1
        losses = trainer.label_loss_items(trainer.tloss) if trainer.tloss else {}
        for name, value in {**losses, **(trainer.metrics or {}), **trainer.lr}.items():
            self.ctx.metric(name, step, float(value))
        self.state.epochs = step
        if trainer.stop:
            checkpoints.keep_complete(self.folder)
            self.state.stopped = True
        self.state.save(self.folder)


_LIBRARY_OOM_RETRIES = 3
"""Ultralytics 8.4 gives up at this count (BaseTrainer._do_train)."""


@contextmanager
def _library_errors(training: Training) -> Iterator[None]:
    """The library's exceptions as ours. Unknown ones pass: their traceback is wanted."""
    try:
        yield
    except RuntimeError as error:
        if any(words.lower() in str(error).lower() for words in _OUT_OF_MEMORY):
            raise OutOfMemory(_memory_message(training), hint=_memory_hint(training)) from error
        if str(error).startswith("Dataset "):
            raise NodeError(f"Ultralytics refuses the data: {error}") from error
        raise
    except (SyntaxError, FileNotFoundError) as error:
        raise NodeError(f"Ultralytics: {error}") from error


def _memory_message(training: Training) -> str:
    return f"out of memory on {'the CPU' if training.device == 'cpu' else f'GPU {training.device}'}"


def _memory_hint(training: Training) -> str:
    batch, size = training.arguments.get("batch", 16), training.arguments.get("imgsz", 640)
    smaller = f"train.batch ({batch} → {max(int(batch) // 2, 1)})" if batch and batch >= 2 else f"train.batch ({batch})"
    return f"Lower {smaller} or train.imgsz ({size}), or set train.amp: true, or choose a smaller model."
