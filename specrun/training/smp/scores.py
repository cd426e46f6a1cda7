"""How well label maps agree: counts that add up over batches and processes, and the numbers made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from specrun.training.smp.description import BACKGROUND, Activation


def count_pixels(logits: Tensor, target: Tensor, activation: Activation, ignore: int) -> Tensor:
    """(3, c) int64: pixels of each channel that are right, that were found, that were drawn; ignored ones left out.

    target: as the losses take it.
    """
    channels = logits.shape[1]
    valid = target != ignore
    if activation == "softmax":
        guess, truth = logits.argmax(1)[valid], target[valid].clamp(0, channels - 1)
        right = torch.bincount(truth[guess == truth], minlength=channels)
        return torch.stack([right, *(torch.bincount(of, minlength=channels) for of in (guess, truth))])
    found = (logits > 0).movedim(1, -1)[valid]
    drawn = target[valid].unsqueeze(-1) == torch.arange(channels, device=logits.device)
    return torch.stack([(found & drawn).sum(0), found.sum(0), drawn.sum(0)])


def scores(counts: Tensor, channels: Sequence[str]) -> dict[str, float]:
    """iou and dice: means over the classes that occur, the background left out; iou/<class>. NaN: none occurs."""
    right, found, drawn = (row.tolist() for row in counts.cpu())
    each_iou, each_dice = {}, {}
    for channel, name in enumerate(channels):
        union = found[channel] + drawn[channel] - right[channel]
        if union:
            each_iou[name] = right[channel] / union
            each_dice[name] = 2 * right[channel] / (found[channel] + drawn[channel])
    counted = [name for name in each_iou if name != BACKGROUND]
    return {
        "iou": _mean([each_iou[name] for name in counted]),
        "dice": _mean([each_dice[name] for name in counted]),
        **{f"iou/{name}": value for name, value in each_iou.items()},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
