"""Training under specrun beside a plain script of Lightning and segmentation-models-pytorch with the same settings:
`python -m tests.bench.bench_smp [ROUNDS] [EPOCHS]`.

Both train one network on the same generated shapes, in this process and on one thread, in turns; counted is the
processor time of the process, so that a busy machine matters little. Prints each pair, and the median of their ratios;
the budget is 2% more. `--profile` prints what the process spends its time on under specrun instead.
"""

from __future__ import annotations

import cProfile
import logging
import pstats
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import segmentation_models_pytorch as smp
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch import nn

from tests.support.shapes import TINY, run_smp, shapes_context, write_shapes

BATCH, IMAGES, SIDE = 8, 64, 128
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Images(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Decoded once, as specrun's cache does."""

    def __init__(self, export: Path, split: str, *, flip: bool) -> None:
        self.flip = flip
        self.pairs = []
        for image in sorted((export / "images" / split).glob("*.png")):
            pixels = torch.from_numpy(np.asarray(Image.open(image).convert("RGB")).copy()).permute(2, 0, 1).contiguous()
            labels = np.asarray(Image.open(export / "annotations" / split / image.name)).copy()
            self.pairs.append((pixels, torch.from_numpy(labels)))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, labels = self.pairs[index]
        if self.flip and float(torch.rand(())) < 0.5:
            pixels, labels = pixels.flip(-1), labels.flip(-1)
        return pixels, labels


class _Plain(lightning.LightningModule):
    """What the examples of the two libraries do: their losses, their metrics, their logger."""

    def __init__(self) -> None:
        super().__init__()
        self.net = smp.create_model("Unet", TINY["encoder"], encoder_weights=None, classes=3, **TINY["arch_options"])
        self.dice = smp.losses.DiceLoss("multiclass", ignore_index=255)
        self.entropy = nn.CrossEntropyLoss(ignore_index=255)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, -1, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(_STD).view(1, -1, 1, 1) * 255)
        self.seen: list[Any] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net((images.float() - self.mean) / self.std)
        return logits

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        images, labels = batch
        logits, target = self(images), labels.long()
        loss: torch.Tensor = self.dice(logits, target) + self.entropy(logits, target)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        images, labels = batch
        logits, target = self(images), labels.long()
        loss = self.dice(logits, target) + self.entropy(logits, target)
        self.log("val/loss", loss, batch_size=len(images))
        self.seen.append(
            smp.metrics.get_stats(logits.argmax(1), target, mode="multiclass", ignore_index=255, num_classes=3)
        )

    def on_validation_epoch_end(self) -> None:
        parts = [torch.cat(column) for column in zip(*self.seen, strict=True)]
        self.seen.clear()
        self.log("val/iou", smp.metrics.iou_score(*parts, reduction="macro"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), lr=1e-3)


def plain(export: Path, folder: Path, epochs: int) -> None:
    lightning.seed_everything(42, verbose=False)
    train, val = _Images(export, "train", flip=True), _Images(export, "val", flip=False)
    keep = ModelCheckpoint(folder, monitor="val/iou", mode="max", save_top_k=1, save_last=True)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=CSVLogger(folder),
        callbacks=[keep],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    loaders = [torch.utils.data.DataLoader(data, BATCH, shuffle=data.flip) for data in (train, val)]
    trainer.fit(_Plain(), *loaders)


def ours(export: Path, folder: Path, epochs: int) -> None:
    train = {"epochs": epochs, "batch": BATCH, "image_size": [SIDE, SIDE], "pictures": 0}
    train["normalize"] = {"mean": list(_MEAN), "std": list(_STD)}
    run_smp(shapes_context(folder, export), train=train)


def _processor_s(work: Callable[[Path, Path, int], None], export: Path, epochs: int) -> float:
    folder = Path(tempfile.mkdtemp())
    began = time.process_time()
    work(export, folder, epochs)
    taken = time.process_time() - began
    shutil.rmtree(folder)
    return taken


def _profiled(export: Path, epochs: int) -> None:
    profile = cProfile.Profile()
    profile.enable()
    _processor_s(ours, export, epochs)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(35).sort_stats("cumulative").print_stats("specrun", 45)


def main(rounds: int, epochs: int, *, profile: bool) -> None:
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    export = write_shapes(Path(tempfile.mkdtemp()) / "export", train=IMAGES, val=BATCH, size=SIDE)
    for work in (plain, ours):
        _processor_s(work, export, 1)
    if profile:
        return _profiled(export, epochs)
    pairs = []
    for number in range(rounds):
        order = (plain, ours) if number % 2 else (ours, plain)
        taken = {work: _processor_s(work, export, epochs) for work in order}
        pairs.append((taken[plain], taken[ours]))
        print(
            f"  plain {taken[plain]:6.2f} s   specrun {taken[ours]:6.2f} s   {taken[ours] / taken[plain]:.3f}",
            flush=True,
        )
    ratio = statistics.median(other / one for one, other in pairs)
    print(f"{epochs} epochs of {IMAGES} images, {SIDE}x{SIDE}: {ratio:.3f} times the plain script (budget: 1.02)")


if __name__ == "__main__":
    numbers = [int(value) for value in sys.argv[1:] if value.isdigit()]
    main(*[*numbers, *(5, 10)[len(numbers) :]], profile="--profile" in sys.argv)
