"""Lightning's loop around one training, in this process: alone, or as one of several ranks."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from specrun.errors import OutOfMemory, SpecrunError
from specrun.spec.quantities import duration_s
from specrun.training.oom import Batch, is_out_of_memory, out_of_memory
from specrun.training.smp import checkpoints
from specrun.training.smp.augment import Augment
from specrun.training.smp.checkpoints import TrainingState
from specrun.training.smp.data import IGNORED, OrderedBatches, ShuffledBatches, TrainingSet, ValidationSet
from specrun.training.smp.losses import SumOfLosses, loss_terms
from specrun.training.smp.module import SmpModule
from specrun.training.smp.optimizing import Schedule, make_optimizer
from specrun.training.smp.tracking import NoTracking, Tracking
from specrun.training.smp.training import Training, free_memory
from specrun.training.smp.watch import Report, Watch

_PRECISIONS = {"32": "32-true", "tf32": "32-true", "bf16": "bf16-true"}


def fit(training: Training, state: TrainingState, report: Report, rank: int = 0) -> None:
    """Go on with the training to its end; the state on disk is that of rank 0.

    Raises StopRequested (a checkpoint stays), OutOfMemory, FormatError, NodeError.
    """
    try:
        with _quiet():
            _fit(training, state, report, rank)
    except Exception as error:
        if isinstance(error, SpecrunError) and not isinstance(error, OutOfMemory):
            raise _from_loader(error) from error
        if not is_out_of_memory(error):
            raise
        place = f"GPU {rank}" if training.gpus else "the CPU"
        raise _told(training, Batch(state.batch, state.accumulate), place) from error


def _told(training: Training, batch: Batch, place: str) -> OutOfMemory:
    height, width = training.described.image_size
    others = [f"lower train.image_size ({height}x{width})", "choose a smaller encoder"]
    return out_of_memory(place, batch, setting="train.batch", others=others)


def largest_batch(training: Training) -> int:
    """The largest power of two that fits on the first GPU."""
    size = 1
    while size * 2 <= max(1, len(training.train_frames.items)) and size < 1024 and _fits(training, size * 2):
        size *= 2
    return size


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
        free_memory()


def _module(training: Training, world: int = 1) -> SmpModule:
    train, described = training.train, training.described
    net = training.build()
    if world > 1 and train.sync_batch_norm and training.gpus:
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    weights, channels = training.weights, len(described.channels)
    return SmpModule(
        net,
        described,
        SumOfLosses(loss_terms(train.loss), described.activation, IGNORED, weights, channels, world=world),
        augment=training.augment,
        change=Augment(training.augment) if training.gpus else None,
        optimizer=partial(make_optimizer, spec=train.optimizer),
        seed=training.seed,
        frozen=train.freeze_encoder,
        channels_last=train.channels_last and bool(training.gpus),
        each_alone=described.fit == "crop",
    )


def _fit(training: Training, state: TrainingState, report: Report, rank: int) -> None:
    train, world = training.train, state.world
    lightning.seed_everything(training.seed, workers=False, verbose=False)
    if train.precision == "tf32":
        torch.set_float32_matmul_precision("high")
    module = _module(training, world)
    strategy = _strategy(module, training, world)
    if train.compile:
        module.forward_net = torch.compile(module.net).__call__
    sampler = ShuffledBatches(len(training.train_frames.items), state.batch, training.seed, rank=rank, world=world)
    steps = -(-len(sampler) // state.accumulate)
    tracking = NoTracking() if rank else Tracking(training.folder, training.tracking, state.rows)
    watch = Watch(
        report=report,
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
        devices=world,
        strategy=strategy,
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
    if module.needs_two and sampler.images(len(sampler) - 1) == 1:
        report.log(
            "one image is left for the last batch of an epoch; it is shown twice and counts once, since this network "
            "normalises over more than one value"
        )
    last = training.folder / checkpoints.LAST
    resumed = last if last.is_file() else None
    if resumed:
        report.log("going on from the last checkpoint")
    try:
        trainer.fit(
            module,
            train_dataloaders=_train_loader(training, sampler),
            val_dataloaders=_val_loader(training, state, rank),
            ckpt_path=resumed,
            weights_only=True,
        )
    finally:
        tracking.close()


def _strategy(module: SmpModule, training: Training, world: int) -> Any:
    """Buffers are not sent at every step: they are the running means of batch norms, which nothing reads before the
    validation, where Watch sends them."""
    if world == 1:
        return "auto"
    return DDPStrategy(
        process_group_backend="nccl" if training.gpus else "gloo",
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
        find_unused_parameters=_leaves_some_unused(module, training),
    )


def _leaves_some_unused(module: SmpModule, training: Training) -> bool:
    """Whether the loss reaches every weight; looking for those that it does not costs time at every step."""
    images = torch.zeros((1, training.described.in_channels, *training.described.image_size))
    # Not in training mode, which would change the running means of batch norms.
    module.net.eval()
    module.net(images).sum().backward()
    module.train()
    wanted = [value for value in module.net.parameters() if value.requires_grad]
    unused = any(value.grad is None for value in wanted)
    for value in wanted:
        value.grad = None
    return unused


def precision(written: str, gpus: int) -> str:
    if written == "auto":
        return "bf16-mixed" if gpus and torch.cuda.is_bf16_supported() else "32-true"
    return _PRECISIONS.get(written, written)


def _workers(training: Training, world: int) -> int:
    """Of each process. On the CPU the cores train; on a GPU they load."""
    written = training.train.workers
    if written != "auto":
        return written
    return max(1, min(16, training.cpus // world - 1)) if training.gpus else 0


def _train_loader(training: Training, sampler: ShuffledBatches) -> Any:
    change = None if training.gpus else Augment(training.augment)
    data = TrainingSet(training.train_frames, training.seed, training.augment.mosaic, change)
    return _loader(training, data, sampler, sampler.world)


def _val_loader(training: Training, state: TrainingState, rank: int) -> Any:
    frames = training.val_frames
    if frames is None:
        return None
    size = 1 if frames.fit == "crop" else state.batch
    batches = OrderedBatches(len(frames.items), size, rank=rank, world=state.world)
    return _loader(training, ValidationSet(frames), batches, state.world)


def _loader(training: Training, data: TrainingSet | ValidationSet, batches: Any, world: int) -> Any:
    data.frames.make_room()
    more: dict[str, Any] = {}
    if workers := _workers(training, world):
        more = {"num_workers": workers, "persistent_workers": True, "prefetch_factor": 4}
    # A generator of its own: making an iterator draws from it, and must not move the global one.
    source = torch.Generator().manual_seed(training.seed)
    return torch.utils.data.DataLoader(
        data, batch_sampler=batches, pin_memory=bool(training.gpus), generator=source, **more
    )


def _from_loader(error: SpecrunError) -> SpecrunError:
    """Loading processes hand on an exception as the text of its traceback, whose last line is the message."""
    if "Original Traceback" not in error.message:
        return error
    last = error.message.strip().splitlines()[-1]
    return type(error)(last.partition(": ")[2] or last)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice is for those who write the loop."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
