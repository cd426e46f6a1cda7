"""Going on after an interruption as if there had been none, on the CPU.

    <folder>/.work/exact/<epoch>.state     written before last.pt of that epoch; the two newest are kept

The library's own last.pt is not enough: it holds the averaged weights in half precision in place of the trained ones,
no random states, no gradients that were gathered for a step yet to come, and not where in the data it was.
On a GPU nothing is written: there other processes load the data ahead, and their random states cannot be had.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from specrun.store.filesystem import fsync_folder
from specrun.training.ultralytics.checkpoints import WORK

_KEPT = 2


class ExactResume:
    """Saves with every epoch, and restores before the first batch of a training that goes on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / WORK / "exact"
        self._batch = 0
        self._last_step = -1
        self._step: Any = None
        self._order = _Order()

    def attach(self, model: Any) -> None:
        model.add_callback("on_train_start", self.on_train_start)
        model.add_callback("on_train_epoch_start", self.on_epoch_start)
        model.add_callback("on_train_batch_start", self.on_batch_start)
        model.add_callback("on_train_batch_end", self.on_batch_end)

    def on_train_start(self, trainer: Any) -> None:
        """Note each step of the optimizer, and save before the library does."""
        if trainer.device.type != "cpu":
            return
        step, save = trainer.optimizer_step, trainer.save_model

        def noted_step() -> None:
            step()
            self._last_step = self._batch

        def save_both() -> bool:
            self._save(trainer)
            saved: bool = save()
            return saved

        trainer.optimizer_step, trainer.save_model = noted_step, save_both
        self._order.follow(trainer)

    def on_epoch_start(self, trainer: Any) -> None:
        self._batch = trainer.epoch * len(trainer.train_loader) - 1
        if trainer.device.type != "cpu" or trainer.epoch != trainer.start_epoch or not trainer.resume:
            return
        saved = self._load(trainer)
        if saved is not None:
            self._restore(trainer, saved)

    def on_batch_start(self, _: Any) -> None:
        self._batch += 1

    def on_batch_end(self, trainer: Any) -> None:
        """After a restore the steps are taken here: the library counts from the batch at which it began again."""
        if self._step is not None and self._batch - self._last_step >= trainer.accumulate:
            self._step()

    def _save(self, trainer: Any) -> None:
        import numpy as np  # heavy, as torch
        import torch
        from ultralytics.utils.torch_utils import unwrap_model

        from specrun.training.ultralytics.tensor_file import write_state

        model = unwrap_model(trainer.model)
        content = {
            "batch": trainer.batch_size,
            "model": model.state_dict(),
            "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
            "average": trainer.ema.ema.state_dict(),
            "updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "last_step": self._last_step,
            "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
            "order": self._order.saved(trainer),
            "buffer": list(getattr(trainer.train_loader.dataset, "buffer", ())),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / "next.part"
        # The file that is no longer needed is written over, once it has lost its name on the disk too: after a crash of
        # the machine nothing half of one epoch and half of another may be called a state.
        for path in self._folder.glob("*.state"):
            if int(path.stem) <= trainer.epoch - _KEPT:
                os.replace(path, partial)
        fsync_folder(self._folder)
        write_state(content, partial)
        os.replace(partial, self._folder / f"{trainer.epoch}.state")

    def _load(self, trainer: Any) -> dict[str, Any] | None:
        from specrun.training.ultralytics.tensor_file import read_state

        path = self._folder / f"{trainer.start_epoch - 1}.state"
        if not path.is_file():
            return None
        try:
            saved: dict[str, Any] = read_state(path)
        except ValueError:  # a disk that promised too much: the library's own last.pt must do
            return None
        return saved if saved["batch"] == trainer.batch_size else None

    def _restore(self, trainer: Any, saved: dict[str, Any]) -> None:
        import numpy as np  # heavy, as torch
        import torch
        from ultralytics.utils.torch_utils import unwrap_model

        model = unwrap_model(trainer.model)
        model.load_state_dict(saved["model"])
        for name, parameter in model.named_parameters():
            parameter.grad = saved["gradients"].get(name)
        trainer.ema.ema.load_state_dict(saved["average"])
        trainer.ema.updates = saved["updates"]
        trainer.optimizer.load_state_dict(saved["optimizer"])
        self._last_step = saved["last_step"]
        self._step, trainer.optimizer_step = trainer.optimizer_step, lambda: None
        _refill(trainer.train_loader.dataset, saved["buffer"])
        self._order.replay(trainer, saved["order"])
        python, numpy, of_torch = saved["random"]
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(of_torch)


def _refill(dataset: Any, buffer: list[int]) -> None:
    """The images from which mosaics take their parts, loaded in the order in which they were."""
    if hasattr(dataset, "load_image"):
        for index in buffer:
            dataset.load_image(index)


class _Order:
    """The order of the images, which one iterator draws for all epochs, and a new one where mosaics end.

    To go on in the order, it is drawn again from the state of the generator in which the iterator was made.
    """

    def __init__(self) -> None:
        self._generator: Any = None
        self._began = 0
        self._replayed: Any = None

    def follow(self, trainer: Any) -> None:
        loader = trainer.train_loader
        make = loader._get_iterator

        def noted() -> Any:
            replayed, self._replayed = self._replayed, None
            if replayed is not None and not _mosaic_ends(trainer):
                return replayed  # the library makes a new one also when it goes on after the end of the mosaics
            self._generator, self._began = loader.generator.get_state(), trainer.epoch
            return make()

        loader._get_iterator = noted

    def saved(self, trainer: Any) -> dict[str, Any]:
        return {"generator": self._generator, "drawn": trainer.epoch - self._began + 1}

    def replay(self, trainer: Any, saved: dict[str, Any]) -> None:
        loader = trainer.train_loader
        loader.generator.set_state(saved["generator"])
        iterator = type(loader)._get_iterator(loader)
        for _ in range(saved["drawn"] * len(loader)):
            iterator._next_index()
        self._generator, self._began = saved["generator"], trainer.epoch - saved["drawn"]
        self._replayed = iterator


def _mosaic_ends(trainer: Any) -> bool:
    """With this epoch, and not before."""
    closes = trainer.args.close_mosaic
    return bool(closes) and trainer.epoch == max(trainer.epochs - closes, 0)
