"""Around Lightning's loop: events of the run, checkpoints, stopping, learning rates, and the same random numbers
however often training was interrupted.

Lightning restores weights, optimizer and counters, but neither random states nor the place in the epoch. Here
every step seeds the generators from (seed, epoch, step, process), and the sampler starts after the images that were
seen. In several processes each has a Watch: they agree on when to save and to stop; only the first tells and writes.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from torch import distributed

from specrun.errors import NodeError, StopRequested
from specrun.training.smp.checkpoints import BEST, LAST, TOP, TrainingState
from specrun.training.smp.data import ShuffledBatches, generator
from specrun.training.smp.model import save_weights
from specrun.training.smp.module import SmpModule
from specrun.training.smp.monitoring import lower_is_better
from specrun.training.smp.optimizing import Schedule
from specrun.training.smp.scores import scores
from specrun.training.smp.settings import SmpTrainSpec
from specrun.training.smp.tracking import NoTracking, Tracking

_SLOW_LOADING = 0.2
"""Share of an epoch spent waiting for images from which on that is worth a line in the log."""


class Report(Protocol):
    """What the loop tells and asks; a Context is one, and so is a RankReport."""

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None: ...
    def metric(self, name: str, step: float, value: float) -> None: ...
    def log(self, text: str) -> None: ...
    def stop_requested(self) -> bool: ...


@dataclass
class Watch(lightning.Callback):
    """every_s: longest time between two checkpoints. schedule: made when the optimizer is there."""

    report: Report
    folder: Path
    state: TrainingState
    train: SmpTrainSpec
    sampler: ShuffledBatches
    tracking: Tracking | NoTracking
    make_schedule: Callable[[torch.optim.Optimizer], Schedule]
    every_s: float
    validates: bool
    schedule: Schedule | None = field(default=None, init=False)
    samples: int = field(default=0, init=False)
    loss_sum: torch.Tensor | None = field(default=None, init=False)
    loss_count: int = field(default=0, init=False)
    bad_epochs: int = field(default=0, init=False)
    best: float = field(default=math.inf, init=False)

    def __post_init__(self) -> None:
        self._loaded: dict[str, Any] | None = None
        self._saved_at = time.monotonic()
        self._epoch_began = self._step_ended = time.monotonic()
        self._waited = 0.0
        self._seen = 0
        self._told_waiting = False
        self._group: Any = None
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    @property
    def _samples_a_batch(self) -> int:
        """Over all processes."""
        return self.sampler.batch * self.sampler.world

    @property
    def state_key(self) -> str:
        return "specrun"

    def state_dict(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "batch": self._samples_a_batch,
            "loss_sum": float(self.loss_sum) if self.loss_sum is not None else 0.0,
            "loss_count": self.loss_count,
            "bad_epochs": self.bad_epochs,
            "best": self.best,
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "measured": self.state.measured(),
        }

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Progress is counted in batches: after halving them there are more of them."""
        found = checkpoint["callbacks"][self.state_key]
        self._loaded = found
        self.samples = self.sampler.start = int(found["samples"])
        self.sampler.epoch = int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
        self.state.restore(found["measured"])
        now = self._samples_a_batch
        if found["batch"] != now and self.samples:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            done = self.samples // now
            for counts in (progress["total"], progress["current"]):
                counts |= {"ready": done, "started": done, "processed": done, "completed": done - 1}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        # Lightning's own handler raises SystemExit wherever training is, without a checkpoint.
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if self.sampler.world > 1:
            # Of the CPU, so that nobody waits for a GPU to agree; and Lightning's question does just that, every step.
            self._group = distributed.new_group(backend="gloo")
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
        self.schedule = self.make_schedule(trainer.optimizers[0])
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=pl_module.device)
        if self._loaded is not None:
            self.schedule.load_state_dict(self._loaded["schedule"])
            self.loss_sum += self._loaded["loss_sum"]
            self.loss_count = int(self._loaded["loss_count"])
            self.bad_epochs, self.best = int(self._loaded["bad_epochs"]), float(self._loaded["best"])
            if self._is_stuck():
                trainer.should_stop = True
        self._epoch_began = self._step_ended = time.monotonic()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Lightning tells the epoch to samplers of images alone, not to those of batches."""
        self.sampler.set_epoch(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._waited += time.monotonic() - self._step_ended
        numbers = (self.sampler.seed, 3, trainer.current_epoch, batch_idx, self.sampler.rank)
        seed = generator(*numbers).initial_seed()
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed & 0xFFFF_FFFF)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self.schedule is not None
        assert self.loss_sum is not None
        count = self.sampler.images(batch_idx)
        loss = outputs["loss"].detach().double()
        if loss.device.type == "cpu":
            self._require_finite(float(loss), trainer, batch_idx)
        self.loss_sum += loss * count
        self.loss_count += count
        self._seen += count
        self.samples = (batch_idx + 1) * self._samples_a_batch
        batches = len(self.sampler)
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole or batch_idx + 1 == batches:
            self.schedule.step()
        done = trainer.current_epoch + (batch_idx + 1) / (batches + (1 if self.validates else 0))
        self.report.progress(
            done, self.train.epochs, "epochs", f"epoch {trainer.current_epoch + 1}/{self.train.epochs}"
        )
        if whole and batch_idx + 1 < batches:
            self._pause(trainer)
        self._step_ended = time.monotonic()

    def _require_finite(self, loss: float, trainer: Any, batch_idx: int) -> None:
        """On a GPU asked only before a checkpoint, since an answer makes it wait."""
        if math.isfinite(loss):
            return
        raise NodeError(
            f"the loss became {loss} in epoch {trainer.current_epoch + 1}, batch {batch_idx + 1} of "
            f"{len(self.sampler)}, with a learning rate of {trainer.optimizers[0].param_groups[0]['lr']:.3g}.",
            hint="Lower train.optimizer.lr, write train.clip: 1.0, or use precision 32 or bf16-mixed.",
        )

    def _pause(self, trainer: Any) -> None:
        """Between two steps of the optimizer, where no gradient is under way."""
        stop, save = self._agreed(self.report.stop_requested(), time.monotonic() - self._saved_at > self.every_s)
        if stop or save:
            self.save(trainer)
        if stop:
            raise StopRequested("stopped because the run was asked to stop; training goes on from here")

    def _agreed(self, *wishes: bool) -> list[bool]:
        """What any process wishes, the same in all of them."""
        if self._group is None:
            return list(wishes)
        told = torch.tensor([int(wish) for wish in wishes])
        distributed.all_reduce(told, distributed.ReduceOp.MAX, group=self._group)
        return [bool(wish) for wish in told.tolist()]

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A stop waits for the end of the validation: half of one cannot be gone on with."""
        batches = max(1, len(trainer.val_dataloaders))
        done = trainer.current_epoch + 1 - (1 - (batch_idx + 1) / batches) / (len(self.sampler) + 1)
        self.report.progress(done, self.train.epochs, "epochs", f"validating epoch {trainer.current_epoch + 1}")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Running means of batch norms are those of the first process, in all of them and so in checkpoints."""
        self._train_s = time.monotonic() - self._epoch_began
        if self.sampler.world > 1:
            for buffer in pl_module.net.buffers():
                distributed.broadcast(buffer, src=0)

    def on_train_epoch_end(self, trainer: Any, pl_module: SmpModule) -> None:
        if not self.validates:
            self._train_s = time.monotonic() - self._epoch_began
        row = self._row(trainer, pl_module)
        self._require_finite(row["train/loss"], trainer, len(self.sampler) - 1)
        monitored = row.get(self.state.monitor, math.nan)
        lower = monitored if lower_is_better(self.state.monitor) else -monitored
        assert self.schedule is not None
        self.schedule.epoch(lower)
        self.state.rows.append(row)
        for name, value in row.items():
            if name != "epoch":
                self.report.metric(name, int(row["epoch"]), value)
        self.tracking.add(row)
        self._tell_waiting(row)
        self._judge(trainer, pl_module, row, lower)
        self.samples, self.loss_count, self._seen, self._waited = 0, 0, 0, 0.0
        assert self.loss_sum is not None
        self.loss_sum.zero_()
        self.save(trainer)
        self.report.progress(
            row["epoch"],
            self.train.epochs,
            "epochs",
            f"epoch {min(int(row['epoch']) + 1, self.train.epochs)}/{self.train.epochs}",
        )
        (stop,) = self._agreed(self.report.stop_requested())
        if stop and not trainer.should_stop and row["epoch"] < self.train.epochs:
            raise StopRequested("stopped because the run was asked to stop; training goes on from here")
        self._epoch_began = self._step_ended = time.monotonic()

    def _row(self, trainer: Any, module: SmpModule) -> dict[str, float]:
        """The same in every process, to the bit: all of them decide by it."""
        assert self.loss_sum is not None
        waited = trainer.strategy.reduce(torch.tensor(self._waited, device=module.device), reduce_op="max")
        row = {
            "epoch": float(trainer.current_epoch + 1),
            "train/loss": float(self.loss_sum) / max(1, self.loss_count),
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "images/s": self._seen / max(self._train_s, 1e-9),
            "data_wait": float(waited) / max(self._train_s, 1e-9),
        }
        if self.validates and module.counts is not None and module.val_loss is not None:
            found = scores(trainer.strategy.reduce(module.counts, reduce_op="sum"), module.described.channels)
            row |= {f"val/{name}": value for name, value in found.items() if math.isfinite(value)}
            loss, images = trainer.strategy.reduce(module.val_loss, reduce_op="sum").tolist()
            row["val/loss"] = loss / max(1.0, images)
        shared: dict[str, float] = trainer.strategy.broadcast(row)
        return shared

    def _tell_waiting(self, row: dict[str, float]) -> None:
        """Once, after the first epoch of which it is true."""
        if row["data_wait"] > _SLOW_LOADING and not self._told_waiting:
            self._told_waiting = True
            self.report.log(
                f"{row['data_wait']:.0%} of epoch {int(row['epoch'])} was spent waiting for images: "
                "more train.workers, more resources.cpus or train.cache: memory would shorten it"
            )

    def _judge(self, trainer: Any, module: SmpModule, row: dict[str, float], lower: float) -> None:
        """Keep the weights of the best epochs; stop when nothing gets better."""
        epoch = int(row["epoch"])
        stopping = self.train.early_stopping
        if not math.isfinite(lower):
            lower = math.inf
        worst = max((value for value, _ in self.state.top), default=-math.inf)
        if len(self.state.top) < self.train.checkpoints.top_k or lower < worst:
            self._keep(module, lower, epoch)
        if self.state.top[0][1] == epoch:
            self.state.best = row
        watched = lower
        if stopping is not None and stopping.monitor != self.state.monitor and stopping.monitor in row:
            watched = row[stopping.monitor] * (1 if lower_is_better(stopping.monitor) else -1)
        if watched < self.best - (stopping.min_delta if stopping else 0.0):
            self.best, self.bad_epochs = watched, 0
        else:
            self.bad_epochs += 1
        if stopping is not None and self._is_stuck():
            self.report.log(f"stopped after epoch {epoch}: {stopping.patience} epochs without improvement")
            self.state.stopped_early = epoch < self.train.epochs
            trainer.should_stop = True

    def _is_stuck(self) -> bool:
        stopping = self.train.early_stopping
        return stopping is not None and self.bad_epochs >= stopping.patience

    def _keep(self, module: SmpModule, lower: float, epoch: int) -> None:
        """Ties go to the earlier epoch."""
        top = sorted([*self.state.top, (lower, epoch)])
        kept, dropped = top[: self.train.checkpoints.top_k], top[self.train.checkpoints.top_k :]
        self.state.top = kept
        if self.sampler.rank:
            return
        weights = module.net.state_dict()
        place = self.folder / TOP / f"{epoch:03d}.safetensors"
        save_weights(weights, place)
        if kept[0][1] == epoch:
            partial = self.folder / f"{BEST}.part"
            partial.unlink(missing_ok=True)
            os.link(place, partial)
            os.replace(partial, self.folder / BEST)
        for _, old in dropped:
            (self.folder / TOP / f"{old:03d}.safetensors").unlink(missing_ok=True)

    def save(self, trainer: Any) -> None:
        """Raises NodeError: the weights are of no use any more; the checkpoint before stays."""
        assert self.loss_sum is not None
        self._require_finite(float(self.loss_sum), trainer, max(0, self.samples // self._samples_a_batch - 1))
        path = self.folder / LAST
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        trainer.save_checkpoint(partial, weights_only=False)
        if not self.sampler.rank:
            os.replace(partial, path)
            self.state.save(self.folder)
        self._saved_at = time.monotonic()
