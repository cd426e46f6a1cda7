"""Losses of segmentation, for softmax over exclusive classes and for sigmoid one by one; all of them leave out
ignored pixels, weigh classes, and may be summed.

Equal to segmentation-models-pytorch's where that has the same one (by test); written anew since those know no class
weights, and since a batch of nothing but ignored pixels must give 0 and not NaN.

In several processes a loss is that of the images of all of them, not a mean of one loss each: what it is made of is
summed over the processes first, so that two with half the batch learn as one with the whole of it.
Sources: Milletari 2016 (dice), Salehi 2017 (tversky), Lin 2017 (focal), Berman 2018 (lovasz).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from specrun.training.smp.description import Activation
from specrun.training.smp.settings import LossName, LossSpec

_EPS = 1e-7


@dataclass(frozen=True)
class Ranks:
    """What the processes of a training have together. Gradients are `world` times those of a process's own part: the
    mean over the processes, which DistributedDataParallel takes, then is the gradient of the whole."""

    world: int

    def sum(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Of values of one shape, in one go."""
        if self.world == 1:
            return values
        stacked = torch.stack(values)
        total = stacked.detach().clone()
        distributed.all_reduce(total)
        return tuple(total + self.world * (stacked - stacked.detach()))

    def joined(self, values: Tensor) -> Tensor:
        """Along the first axis, which may be of another length in each process."""
        if self.world == 1:
            return values
        own = torch.tensor([len(values)], device=values.device)
        lengths = [torch.zeros_like(own) for _ in range(self.world)]
        distributed.all_gather(lengths, own)
        longest = max(int(length) for length in lengths)
        sent = values.new_zeros((longest, *values.shape[1:]))
        sent[: len(values)] = values.detach()
        parts = [torch.empty_like(sent) for _ in range(self.world)]
        distributed.all_gather(parts, sent)
        found = [part[: int(length)] for part, length in zip(parts, lengths, strict=True)]
        if values.requires_grad:
            rank = distributed.get_rank()
            found[rank] = found[rank] + self.world * (values - values.detach())
        return torch.cat(found)


class SumOfLosses(nn.Module):
    """logits: (n, c, h, w). target: (n, h, w) int64, channel numbers for softmax; for sigmoid the number of the one
    class that a pixel has, -1 for none. ignored: its value is `ignore`."""

    weights: Tensor

    def __init__(
        self,
        terms: Sequence[LossSpec],
        activation: Activation,
        ignore: int,
        weights: Sequence[float] | None,
        count: int,
        *,
        world: int = 1,
    ) -> None:
        super().__init__()
        self.terms = tuple(terms)
        self.activation = activation
        self.ignore = ignore
        self.weighted = weights is not None
        self.ranks = Ranks(world)
        self.register_buffer("weights", torch.tensor(weights if weights is not None else [1.0] * count))

    def forward(self, logits: Tensor, target: Tensor, *, alone: bool = False) -> Tensor:
        """alone: of these images, whatever other processes have."""
        logits = logits.float()
        ranks = Ranks(1) if alone else self.ranks
        total = logits.new_zeros(())
        for term in self.terms:
            total = total + term.weight * self._term(term, logits, target, ranks)
        return total

    def _term(self, term: LossSpec, logits: Tensor, target: Tensor, ranks: Ranks) -> Tensor:
        match term.name:
            case "cross_entropy":
                return self._cross_entropy(logits, target, term.smoothing, ranks)
            case "focal":
                gamma = 2.0 if term.gamma is None else term.gamma
                return self._focal(logits, target, gamma, term.alpha, ranks)
            case "dice":
                return self._overlap(logits, target, (0.5, 0.5), 1.0, ranks)
            case "jaccard":
                return self._overlap(logits, target, (1.0, 1.0), 1.0, ranks)
            case "tversky":
                alpha, beta = (0.5 if value is None else value for value in (term.alpha, term.beta))
                return self._overlap(logits, target, (alpha, beta), 1.0 if term.gamma is None else term.gamma, ranks)
            case "lovasz":
                return self._lovasz(logits, target, ranks)
            case "dice_ce" | "focal_dice":
                raise TypeError(f"{term.name} was not taken apart")
            case _:
                assert_never(term.name)

    def _valid(self, target: Tensor) -> Tensor:
        return target != self.ignore

    def _one_hot(self, target: Tensor, channels: int) -> Tensor:
        """(n, c, h, w) float; pixels that are ignored or have no class are 0 in every channel."""
        kept = (target >= 0) & self._valid(target)
        hot = functional.one_hot(target.clamp(0, channels - 1), channels).movedim(-1, 1)
        return hot.float() * kept.unsqueeze(1)

    def _cross_entropy(self, logits: Tensor, target: Tensor, smoothing: float, ranks: Ranks) -> Tensor:
        valid = self._valid(target)
        if self.activation == "softmax":
            safe = torch.where(valid, target, torch.full_like(target, -100))
            weight = self.weights if self.weighted else None
            summed = functional.cross_entropy(
                logits, safe, weight=weight, ignore_index=-100, reduction="sum", label_smoothing=smoothing
            )
            share = self.weights[target.clamp(0, logits.shape[1] - 1)] * valid if self.weighted else valid.float()
            summed, whole = ranks.sum(summed, share.sum())
            return summed / whole.clamp(min=_EPS)
        hot = self._one_hot(target, logits.shape[1])
        hot = hot * (1 - smoothing) + smoothing / 2
        each = functional.binary_cross_entropy_with_logits(logits, hot, reduction="none")
        share = self._channel_weights(logits) * valid.unsqueeze(1)
        summed, whole = ranks.sum((each * share).sum(), share.expand_as(each).sum())
        return summed / whole.clamp(min=_EPS)

    def _focal(self, logits: Tensor, target: Tensor, gamma: float, alpha: float | None, ranks: Ranks) -> Tensor:
        """One class against the rest for every channel, as in the paper and in SMP; mean over pixels
        and channels."""
        hot, valid = self._one_hot(target, logits.shape[1]), self._valid(target).unsqueeze(1)
        entropy = functional.binary_cross_entropy_with_logits(logits, hot, reduction="none")
        each = (1 - torch.exp(-entropy)) ** gamma * entropy
        if alpha is not None:
            each = each * (alpha * hot + (1 - alpha) * (1 - hot))
        each = each * self._channel_weights(logits) * valid
        summed, pixels = ranks.sum(each.sum(), valid.float().sum())
        return summed / (pixels * logits.shape[1]).clamp(min=1)

    def _overlap(
        self, logits: Tensor, target: Tensor, alpha_beta: tuple[float, float], gamma: float, ranks: Ranks
    ) -> Tensor:
        """1 - tp / (tp + alpha fp + beta fn) over the whole batch; classes that do not occur in it count as 0."""
        alpha, beta = alpha_beta
        valid = self._valid(target).unsqueeze(1)
        shares = self._probabilities(logits) * valid
        hot = self._one_hot(target, logits.shape[1])
        both, found, drawn = ranks.sum((shares * hot).sum((0, 2, 3)), shares.sum((0, 2, 3)), hot.sum((0, 2, 3)))
        score = both / (both + alpha * (found - both) + beta * (drawn - both)).clamp(min=_EPS)
        lost = (1 - score) * (drawn > 0)
        return (
            (lost * self.weights).sum() / self.weights.sum()
            if gamma == 1.0
            else (((lost.clamp(min=0) * self.weights).sum() / self.weights.sum()) ** gamma)
        )

    def _lovasz(self, logits: Tensor, target: Tensor, ranks: Ranks) -> Tensor:
        """Mean over the classes that occur in the batch. It sorts the errors of all pixels, so every process gets
        those of the others."""
        channels = logits.shape[1]
        valid = self._valid(target).reshape(-1)
        shares = ranks.joined(self._probabilities(logits).movedim(1, -1).reshape(-1, channels)[valid])
        truth = ranks.joined(target.reshape(-1)[valid])
        losses, weights = [], []
        for channel in range(channels):
            hot = (truth == channel).float()
            if not bool(hot.any()):
                continue
            errors, order = torch.sort((hot - shares[:, channel]).abs(), descending=True)
            losses.append(torch.dot(errors, _jaccard_steps(hot[order])))
            weights.append(self.weights[channel])
        if not losses:
            return logits.sum() * 0.0
        return (torch.stack(losses) * torch.stack(weights)).sum() / torch.stack(weights).sum()

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(1) if self.activation == "softmax" else logits.sigmoid()

    def _channel_weights(self, logits: Tensor) -> Tensor:
        return self.weights.to(logits.dtype).view(1, -1, 1, 1)


def _jaccard_steps(truth: Tensor) -> Tensor:
    """How much the Jaccard loss grows with each further error, truth sorted by falling error."""
    whole = truth.sum()
    both = whole - truth.cumsum(0)
    union = whole + (1 - truth).cumsum(0)
    loss = 1 - both / union
    return torch.cat([loss[:1], loss[1:] - loss[:-1]])


_SUMS: dict[str, tuple[LossName, LossName]] = {"dice_ce": ("dice", "cross_entropy"), "focal_dice": ("focal", "dice")}


def loss_terms(written: LossName | LossSpec | Sequence[LossName | LossSpec]) -> tuple[LossSpec, ...]:
    """Sums taken apart: `dice_ce` is dice and cross_entropy, each with the weight of the whole."""
    found = []
    for entry in [written] if isinstance(written, str | LossSpec) else written:
        spec = LossSpec(name=entry) if isinstance(entry, str) else entry
        for name in _SUMS.get(spec.name, (spec.name,)):
            found.append(spec.model_copy(update={"name": name}))
    return tuple(found)
