"""The library's own loop in this process, watched through its callbacks: alone, or as one of several ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from specrun.errors import NodeError
from specrun.training.oom import AUTO, CPU_BATCH, Batch, OnOutOfMemory, is_out_of_memory, out_of_memory
from specrun.training.ultralytics import checkpoints
from specrun.training.ultralytics.checkpoints import DurableFile, TrainingState
from specrun.training.ultralytics.exact import ExactResume

DEFAULT_EPOCHS = 100
DEFAULT_BATCH = 16
NOMINAL_BATCH = 64
"""Ultralytics' `nbs`: gradients are gathered until this many images were seen."""
AUTO_FRACTION = 0.85
"""Of the free memory of a GPU that the library's AutoBatch may plan with; it fits a line, so some must stay free."""
_LIBRARY_OOM_RETRIES = 3
"""Ultralytics 8.4 gives up at this count (BaseTrainer._do_train)."""


class Report(Protocol):
    """What the loop tells and asks; a Context is one."""

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None: ...
    def metric(self, name: str, step: float, value: float) -> None: ...
    def log(self, text: str) -> None: ...
    def check_stop(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """weights: path of a checkpoint or architecture, or the name of a shipped one. data: of the view.

    arguments: the user's. folder: where the library writes. device: `cpu`, `mps`, `0`, or `0,1` for two ranks.
    key: see TrainingState.
    """

    weights: str
    task: str | None
    data: Path
    arguments: Mapping[str, Any]
    folder: Path
    device: str
    key: str
    resume: bool
    on_oom: OnOutOfMemory = "fail"

    @property
    def gpus(self) -> int:
        return 0 if self.device in ("cpu", "mps") else len(self.device.split(","))

    @property
    def epochs(self) -> int:
        return int(self.arguments.get("epochs", DEFAULT_EPOCHS))

    @property
    def automatic_batch(self) -> bool:
        batch = self.arguments.get("batch")
        return batch == AUTO or (isinstance(batch, (int, float)) and batch < 1)


def run_epochs(training: Training, state: TrainingState, checkpoint: Path | None, report: Report) -> dict[str, Any]:
    """Train from the weights, or go on from the checkpoint; returns the metrics of the best checkpoint."""
    # Heavy, in the prepared environment; the rank is read from it.
    from ultralytics import YOLO
    from ultralytics.utils import RANK

    model = YOLO(str(checkpoint or training.weights), task=training.task)
    Watch(training.folder, state, report, leads=RANK in (-1, 0)).attach(model)
    if RANK == -1:
        ExactResume(training.folder).attach(model)
    model.train(**library_arguments(training, state), resume=str(checkpoint) if checkpoint else False)
    return dict(model.trainer.metrics or {})


def library_arguments(training: Training, state: TrainingState) -> dict[str, Any]:
    """What `YOLO.train` is given. `batch` may be a fraction of the memory, for AutoBatch."""
    arguments = {**training.arguments, "data": str(training.data), "device": training.device}
    arguments |= {"save_dir": str(training.folder), "save": True}
    if state.batch is not None:
        arguments["batch"] = state.batch
    elif training.arguments.get("batch") == AUTO:
        arguments["batch"] = AUTO_FRACTION if training.gpus else CPU_BATCH
    if training.gpus > 1:
        arguments["rect"] = False  # the library's sampler for several GPUs shuffles
    return arguments


def batch_of(training: Training, state: TrainingState) -> Batch | None:
    """The batch in use; None: AutoBatch has not chosen one yet."""
    if state.batch is not None:
        return Batch(state.batch, state.accumulation or 1)
    size = library_arguments(training, state).get("batch", DEFAULT_BATCH)
    nominal = int(training.arguments.get("nbs", NOMINAL_BATCH))
    return Batch(int(size), _accumulation(nominal, int(size))) if size >= 1 else None


def _accumulation(nominal: int, size: int) -> int:
    """As the library computes it from `nbs`."""
    return max(round(nominal / size), 1)


class Watch:
    """The library's callbacks as events of the run. The folder is left so that a kill costs one epoch at most."""

    def __init__(self, folder: Path, state: TrainingState, report: Report, *, leads: bool = True) -> None:
        """leads: it is the rank that validates and saves; the others only follow the batch."""
        self.folder = folder
        self.state = state
        self.report = report
        self.leads = leads
        self.epoch = 0
        self.epochs = 0
        self.batch = 0
        self.batches = 1

    def attach(self, model: Any) -> None:
        model.add_callback("on_pretrain_routine_end", self.on_ready)
        if not self.leads:
            return
        model.add_callback("on_pretrain_routine_start", self.on_prepare)
        model.add_callback("on_train_start", self.on_train_start)
        model.add_callback("on_train_epoch_start", self.on_epoch_start)
        model.add_callback("on_train_batch_end", self.on_batch_end)
        model.add_callback("on_val_batch_end", self.on_batch_end)
        model.add_callback("on_fit_epoch_end", self.on_epoch_end)

    def on_prepare(self, trainer: Any) -> None:
        trainer.last = DurableFile(trainer.last)
        trainer.best = DurableFile(trainer.best)

    def on_ready(self, trainer: Any) -> None:
        """Remember the batch, or apply what is left of it after a lack of memory."""
        usual = _accumulation(trainer.args.nbs, trainer.batch_size)
        if self.state.accumulation is None or self.state.batch is None:
            self.state.batch, self.state.accumulation = int(trainer.batch_size), usual
        elif self.state.accumulation != usual:
            accumulate(trainer, Batch(self.state.batch, self.state.accumulation))

    def on_train_start(self, trainer: Any) -> None:
        self.batches = len(trainer.train_loader) + len(trainer.test_loader or ())

    def on_epoch_start(self, trainer: Any) -> None:
        self.report.check_stop()
        self.epoch, self.epochs, self.batch = trainer.epoch, trainer.epochs, 0
        # The library would halve the batch by itself in the first epoch: other results than the spec says.
        trainer._oom_retries = _LIBRARY_OOM_RETRIES

    def on_batch_end(self, _: Any) -> None:
        """Also after each batch of the validation. A stop loses the epoch: half of one is no checkpoint."""
        self.report.check_stop()
        self.batch += 1
        if self.state.stopped:
            self.report.progress(self.epochs, self.epochs, "epochs", "validating the best checkpoint")
            return
        done = self.epoch + min(self.batch / self.batches, 1.0)
        self.report.progress(done, self.epochs, "epochs", f"epoch {self.epoch + 1}/{self.epochs}")

    def on_epoch_end(self, trainer: Any) -> None:
        """Comes once more after the last epoch, with the metrics of the best checkpoint."""
        if self.state.stopped:
            return
        step = trainer.epoch + 1
        losses = trainer.label_loss_items(trainer.tloss) if trainer.tloss else {}
        for name, value in {**losses, **(trainer.metrics or {}), **trainer.lr}.items():
            self.report.metric(name, step, float(value))
        self.state.epochs = step
        if trainer.stop:
            checkpoints.keep_complete(self.folder)
            self.state.stopped = True
        self.state.save(self.folder)


def accumulate(trainer: Any, batch: Batch) -> None:
    """Make the library's trainer take its steps after `batch.accumulation` batches, with the weight decay that it
    computes for the effective batch."""
    trainer.accumulate = batch.accumulation
    if not trainer.args.time:  # as the library limits it
        trainer.accumulate = min(batch.accumulation, len(trainer.train_loader) * trainer.epochs)
    decay = trainer.args.weight_decay * batch.effective / trainer.args.nbs
    for group in trainer.optimizer.param_groups:
        if group.get("param_group") in ("weight", "muon"):
            group["weight_decay"] = decay


@contextmanager
def library_errors(training: Training, state: TrainingState) -> Iterator[None]:
    """The library's exceptions as ours. Unknown ones pass: their traceback is wanted."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise memory_error(training, state) from error
        if str(error).startswith("Dataset "):
            raise NodeError(f"Ultralytics refuses the data: {error}") from error
        raise
    except ValueError as error:
        if str(error).startswith("final batch="):
            hint = "Change train.batch so that more than one image is left for the last batch, or raise train.imgsz."
            raise NodeError(f"Ultralytics cannot train on a single image at once: {error}", hint=hint) from error
        raise
    except (SyntaxError, FileNotFoundError) as error:
        raise NodeError(f"Ultralytics: {error}") from error


def memory_error(training: Training, state: TrainingState) -> Exception:
    place = {"cpu": "the CPU", "mps": "the GPU"}.get(training.device, f"GPU {training.device}")
    size = training.arguments.get("imgsz", 640)
    others = [f"lower train.imgsz ({size})", "choose a smaller model"]
    if training.gpus and training.arguments.get("amp", True) in (False, "fp32"):
        others.insert(1, "set train.amp: true")
    return out_of_memory(place, batch_of(training, state), setting="train.batch", others=others)
