"""Training with Lightning, from an export to weights; going on where an earlier attempt ended."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import nn

from specrun.errors import NodeError, OutOfMemory, SpecrunError
from specrun.model.work import Context
from specrun.spec.quantities import duration_s
from specrun.training.oom import Batch, is_out_of_memory, out_of_memory
from specrun.training.smp import checkpoints
from specrun.training.smp.augment import Augment
from specrun.training.smp.checkpoints import TrainingState
from specrun.training.smp.data import IGNORED, Export, Frames, ShuffledBatches, TrainingSet, ValidationSet
from specrun.training.smp.description import ModelDescription
from specrun.training.smp.losses import SumOfLosses, loss_terms
from specrun.training.smp.module import SmpModule
from specrun.training.smp.optimizing import Schedule, make_optimizer
from specrun.training.smp.settings import AugmentSpec, SmpTrainSpec
from specrun.training.smp.tracking import Tracking
from specrun.training.smp.watch import Watch

_SHARE_FOR_CACHE = 0.25
_PRECISIONS = {"32": "32-true", "tf32": "32-true", "bf16": "bf16-true"}
CPU_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Training:
    """build: a new network with its first weights. frames: by split. folder: where weights go. key: see
    TrainingState. gpus: how many were leased, 0 for the CPU. weights: of the classes in the loss."""

    described: ModelDescription
    build: Callable[[], nn.Module]
    export: Export
    train_frames: Frames
    val_frames: Frames | None
    train: SmpTrainSpec
    augment: AugmentSpec
    weights: tuple[float, ...] | None
    folder: Path
    key: str
    resume: bool
    gpus: int
    cpus: int
    seed: int

    @property
    def place(self) -> str:
        return "GPU 0" if self.gpus else "the CPU"


def train(training: Training, ctx: Context) -> TrainingState:
    """Train to the end. Raises StopRequested (a checkpoint stays), OutOfMemory, FormatError, NodeError."""
    state = _begin(training, ctx)
    if state.finished:
        ctx.log("training was finished before; going on with what comes after it")
        return state
    while True:
        try:
            with _quiet():
                _fit(training, state, ctx)
            break
        except Exception as error:
            batch = Batch(state.batch, state.accumulate)
            if isinstance(error, SpecrunError) and not isinstance(error, OutOfMemory):
                raise _from_loader(error) from error
            if not is_out_of_memory(error):
                raise
            _after_out_of_memory(training, state, batch, error, ctx)
    state.finished = True
    state.save(training.folder)
    return state


def _begin(training: Training, ctx: Context) -> TrainingState:
    """The state to go on from. A training that ended goes on when more epochs are wanted than it was given, except
    where it stopped by itself before them; with fewer epochs than it has, it starts over."""
    state = checkpoints.load_state(training.folder) if training.resume else None
    wanted = training.train.epochs
    if state is None or state.key != training.key or len(state.rows) > wanted:
        checkpoints.start_over(training.folder)
        batch = _first_batch(training, ctx)
        state = TrainingState(key=training.key, batch=batch.size, accumulate=batch.accumulation)
        state.monitor = monitor(training, ctx)
    elif state.finished and state.stopped_early and wanted > state.wanted:
        ctx.log(f"training stopped by itself after epoch {len(state.rows)}; more epochs change nothing")
    elif state.finished and wanted > len(state.rows):
        ctx.log(f"training was given {state.wanted} epochs before; going on to {wanted}")
        state.finished = False
    state.wanted = wanted
    state.save(training.folder)
    return state


def monitor(training: Training, ctx: Context) -> str:
    wanted = training.train.checkpoints.monitor
    if training.val_frames is None and wanted.startswith("val/"):
        ctx.log(f"there is no validation split: train/loss decides which epoch is best, not {wanted}")
        return "train/loss"
    return wanted


def _after_out_of_memory(
    training: Training, state: TrainingState, batch: Batch, error: Exception, ctx: Context
) -> None:
    smaller = batch.halved()
    if training.train.on_oom == "fail" or smaller is None:
        others = [f"lower train.image_size ({training.described.image_size[0]}x{training.described.image_size[1]})"]
        others.append("choose a smaller encoder")
        raise out_of_memory(training.place, batch, setting="train.batch", others=others) from error
    ctx.log(
        f"out of memory: batch {batch.size} → {smaller.size}, accumulate {batch.accumulation} → {smaller.accumulation}"
    )
    state.batch, state.accumulate = smaller.size, smaller.accumulation
    state.save(training.folder)
    _free_memory()


def _free_memory() -> None:
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_batch(training: Training, ctx: Context) -> Batch:
    written = training.train.batch
    if isinstance(written, int):
        return Batch(written, training.train.accumulate)
    if not training.gpus:
        ctx.log(f"train.batch: auto is {CPU_BATCH} on the CPU")
        return Batch(CPU_BATCH, training.train.accumulate)
    size = 1
    while size * 2 <= max(1, len(training.train_frames.items)) and size < 1024 and _fits(training, size * 2):
        size *= 2
    ctx.log(f"train.batch: auto is {size}: the largest power of two that fits")
    return Batch(size, training.train.accumulate)


def _fits(training: Training, size: int) -> bool:
    """One step forward and back on the GPU, with a margin for what else a training holds."""
    try:
        module = _module(training).cuda()
        images = torch.zeros((size + size // 8, 3, *training.described.image_size), dtype=torch.uint8, device="cuda")
        labels = torch.zeros((len(images), *training.described.image_size), dtype=torch.uint8, device="cuda")
        wide = training.train.precision in ("32", "tf32")
        with torch.autocast("cuda", torch.bfloat16, enabled=not wide):
            loss = module.loss(module.forward_net(module.prepared(images)), module.target(labels))
        loss.backward()
        return True
    except RuntimeError as error:
        if is_out_of_memory(error):
            return False
        raise
    finally:
        module = images = labels = loss = None  # type: ignore[assignment]
        _free_memory()


def _module(training: Training) -> SmpModule:
    train = training.train
    terms = loss_terms(train.loss)
    described = training.described
    return SmpModule(
        training.build(),
        described,
        SumOfLosses(terms, described.activation, IGNORED, training.weights, len(described.channels)),
        augment=training.augment,
        change=Augment(training.augment) if training.gpus else None,
        optimizer=partial(make_optimizer, spec=train.optimizer),
        seed=training.seed,
        frozen=train.freeze_encoder,
        channels_last=train.channels_last and bool(training.gpus),
    )


def _fit(training: Training, state: TrainingState, ctx: Context) -> None:
    train = training.train
    lightning.seed_everything(training.seed, workers=False, verbose=False)
    if train.precision == "tf32":
        torch.set_float32_matmul_precision("high")
    module = _module(training)
    if train.compile:
        module.forward_net = torch.compile(module.net)
    sampler = ShuffledBatches(len(training.train_frames.items), state.batch, training.seed)
    steps = -(-len(sampler) // state.accumulate)
    tracking = Tracking(training.folder, ctx.settings.get("tracking", {}), state.rows)
    watch = Watch(
        ctx=ctx,
        folder=training.folder,
        state=state,
        train=train,
        sampler=sampler,
        tracking=tracking,
        make_schedule=lambda optimizer: Schedule(optimizer, train.scheduler, steps=steps, epochs=train.epochs),
        every_s=duration_s(train.checkpoints.every),
        validates=training.val_frames is not None,
    )
    trainer = lightning.Trainer(
        accelerator="gpu" if training.gpus else "cpu",
        devices=1,
        precision=precision(train.precision, training.gpus),  # type: ignore[arg-type]
        max_epochs=train.epochs,
        accumulate_grad_batches=state.accumulate,
        gradient_clip_val=train.clip,
        logger=False,
        callbacks=[watch],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=training.folder,
        plugins=[LightningEnvironment()],
    )
    last = training.folder / checkpoints.LAST
    resumed = last if last.is_file() else None
    if resumed:
        ctx.log("going on from the last checkpoint")
    try:
        trainer.fit(
            module,
            train_dataloaders=_train_loader(training, sampler),
            val_dataloaders=_val_loader(training, state.batch),
            ckpt_path=resumed,
            weights_only=True,
        )
    finally:
        tracking.close()


def precision(written: str, gpus: int) -> str:
    if written == "auto":
        return "bf16-mixed" if gpus and torch.cuda.is_bf16_supported() else "32-true"
    return _PRECISIONS.get(written, written)


def _workers(training: Training) -> int:
    """On the CPU the cores train; on a GPU they load."""
    written = training.train.workers
    if written != "auto":
        return written
    return max(1, min(16, training.cpus - 1)) if training.gpus else 0


def _train_loader(training: Training, sampler: ShuffledBatches) -> Any:
    change = None if training.gpus else Augment(training.augment)
    data = TrainingSet(training.train_frames, training.seed, training.augment.mosaic, change)
    return _loader(training, data, batch_sampler=sampler)


def _val_loader(training: Training, batch: int) -> Any:
    if training.val_frames is None:
        return None
    size = 1 if training.val_frames.fit == "crop" else batch
    return _loader(training, ValidationSet(training.val_frames), batch_size=size)


def _loader(training: Training, data: Any, **more: Any) -> Any:
    workers = _workers(training)
    if workers:
        more |= {"num_workers": workers, "persistent_workers": True, "prefetch_factor": 4}
    # A generator of its own: making an iterator draws from it, and must not move the global one.
    return torch.utils.data.DataLoader(
        data, pin_memory=bool(training.gpus), generator=torch.Generator().manual_seed(training.seed), **more
    )


def fits_in_memory(frames: Frames, others: int) -> bool:
    """A quarter of the memory that is free, for all splits together."""
    import psutil

    return bool(frames.bytes_needed() + others < _SHARE_FOR_CACHE * psutil.virtual_memory().available)


def _from_loader(error: SpecrunError) -> SpecrunError:
    """Loading processes hand on an exception as the text of its traceback, whose last line is the message."""
    if "Original Traceback" not in error.message:
        return error
    last = error.message.strip().splitlines()[-1]
    return type(error)(last.partition(": ")[2] or last)


class _quiet:
    """Lightning's advice is for those who write the loop."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("lightning.pytorch")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")

    def __exit__(self, *error: Any) -> None:
        self._warnings.__exit__(*error)
        self._logger.setLevel(self._level)


def require_images(export: Export) -> None:
    if not export.splits["train"]:
        raise NodeError(
            f"{export.folder}: the split train has no images.",
            hint="Give the dataset split ratios, for example split: {ratios: {train: 0.8, val: 0.2}}.",
        )
