"""One step of training and one of validation, as Lightning calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from specrun.training.smp.augment import Augment, mix_batch
from specrun.training.smp.data import IGNORED, generator
from specrun.training.smp.description import ModelDescription
from specrun.training.smp.losses import SumOfLosses
from specrun.training.smp.scores import count_pixels
from specrun.training.smp.settings import AugmentSpec

Loaders = Callable[[], tuple[Iterable[Any], Iterable[Any] | None]]


class SmpModule(lightning.LightningModule):
    """change: augmentation on the device, None where the loading processes did it. seed: of the training.
    each_alone: images are validated one by one, being of different sizes."""

    values: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        described: ModelDescription,
        loss: SumOfLosses,
        *,
        augment: AugmentSpec,
        change: Augment | None,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        seed: int,
        frozen: bool,
        channels_last: bool,
        each_alone: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        self.described = described
        self.loss = loss
        self.augment = augment
        self.change = change
        self.optimizer = optimizer
        self.seed = seed
        self.frozen = frozen
        self.channels_last = channels_last
        self.each_alone = each_alone
        # What is called, and not the network: as a part of this one every weight would stand twice in checkpoints.
        self.forward_net: Callable[[Tensor], Tensor] = net.__call__
        self.needs_two = normalizes_one_pixel(net) or max(described.image_size) <= described.stride
        self.counts: Tensor | None = None
        self.val_loss: Tensor | None = None
        self.register_buffer("values", target_table(described), persistent=False)
        self.register_buffer("mean", torch.tensor(described.mean).view(1, -1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(described.std).view(1, -1, 1, 1) * 255, persistent=False)
        if frozen:
            for parameter in net.encoder.parameters():  # type: ignore[union-attr]
                parameter.requires_grad = False
        # Lightning leaves every part in the mode in which it finds it.
        self.train()

    def train(self, mode: bool = True) -> SmpModule:
        """A frozen encoder keeps the statistics of its normalisation too."""
        super().train(mode)
        if self.frozen:
            self.net.encoder.eval()  # type: ignore[operator, union-attr]
        return self

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Earlier versions wrote every weight a second time, as a part of `forward_net`."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: value for name, value in state.items() if not name.startswith("forward_net.")}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.net)

    def prepared(self, images: Tensor) -> Tensor:
        """uint8 or float (n, 3, h, w) in [0, 255] as the network takes it."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return ((images.float() - self.mean) / self.std).contiguous(memory_format=layout)

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels, seeds = batch
        if self.change is not None:
            images, labels = self._changed(images, labels, seeds)
        random = generator(self.seed, 2, self.current_epoch, batch_idx, self.global_rank)
        together = generator(self.seed, 4, self.current_epoch, batch_idx)
        mixed = mix_batch(images.float(), labels, self.augment, random, together)
        logits = self._logits(self.prepared(mixed.images))
        loss: Tensor = self.loss(logits, self.target(mixed.labels))
        if mixed.other is not None:
            loss = mixed.share * loss + (1 - mixed.share) * self.loss(logits, self.target(mixed.other))
        return loss

    def _logits(self, images: Tensor) -> Tensor:
        """A batch of one is shown twice where the network normalises what it pooled to one pixel."""
        if len(images) == 1 and self.needs_two:
            return self.forward_net(torch.cat([images, images]))[:1]
        return self.forward_net(images)

    def _changed(self, images: Tensor, labels: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        assert self.change is not None
        pairs = [
            self.change(image, mask, torch.Generator().manual_seed(seed))
            for image, mask, seed in zip(images, labels, seeds.tolist(), strict=True)
        ]
        return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])

    def target(self, labels: Tensor) -> Tensor:
        return self.values[labels.long()]

    def on_validation_epoch_start(self) -> None:
        self.counts = torch.zeros((3, len(self.described.channels)), dtype=torch.int64, device=self.device)
        self.val_loss = torch.zeros(2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Adds to the pixels of this process, and to (loss times images, images)."""
        images, labels, counted = batch
        target = self.target(labels)
        logits = self.forward_net(self.prepared(images))
        assert self.counts is not None
        assert self.val_loss is not None
        loss = self.loss(logits, target, alone=self.each_alone).double()
        count = counted.sum().double()
        self.val_loss += torch.stack([loss * count, count])
        self.counts += count_pixels(logits, target, self.described.activation, IGNORED)


def target_table(described: ModelDescription) -> Tensor:
    """Value of a label map → what the losses take: the number of a channel, -1 for none, IGNORED."""
    table = torch.full((256,), IGNORED, dtype=torch.int64)
    channels = {name: number for number, name in enumerate(described.channels)}
    for value, name in enumerate(described.names):
        table[value] = -1 if value == described.background and name not in channels else channels[name]
    return table


def normalizes_one_pixel(net: nn.Module) -> bool:
    """Whether a batch norm comes after pooling to one pixel, as in DeepLabV3: of one image that is one value a
    channel, which it refuses."""
    for part in net.modules():
        if isinstance(part, nn.Sequential):
            inner = list(part.modules())
            pools = [at for at, one in enumerate(inner) if _pools_to_one_pixel(one)]
            if any(isinstance(one, nn.modules.batchnorm._BatchNorm) for at in pools[:1] for one in inner[at:]):
                return True
    return False


def _pools_to_one_pixel(part: nn.Module) -> bool:
    return isinstance(part, nn.AdaptiveAvgPool2d) and part.output_size in (1, (1, 1))
