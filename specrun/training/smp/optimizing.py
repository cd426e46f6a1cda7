"""Optimizers and learning rates, by our names and by torch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from specrun.errors import NodeError
from specrun.training.smp import names
from specrun.training.smp.settings import OptimizerSpec, SchedulerSpec


def make_optimizer(model: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """Frozen parameters are left out. Raises NodeError: torch refuses the arguments."""
    name = names.canonical(spec.name, names.optimizers()) or spec.name
    encoder = [value for key, value in model.named_parameters() if key.startswith("encoder.") and value.requires_grad]
    rest = [value for key, value in model.named_parameters() if not key.startswith("encoder.") and value.requires_grad]
    groups: list[dict[str, Any]] = [{"params": rest}]
    if encoder:
        groups.append({"params": encoder, "lr": spec.encoder_lr or spec.lr})
    options: dict[str, Any] = dict(spec.options)
    if spec.weight_decay is not None:
        options["weight_decay"] = spec.weight_decay
    try:
        return getattr(torch.optim, name)(groups, lr=spec.lr, **options)  # type: ignore[no-any-return]
    except (TypeError, ValueError, AttributeError) as error:
        raise NodeError(f"train.optimizer: {name} refuses its arguments: {error}") from error


class Schedule:
    """The learning rate: `step()` after every step of the optimizer, `epoch(value)` after every epoch; the value is
    the monitored one, lower being better.

    One object for our schedules, which are functions of the share of training that is done, for torch's, and for
    the warm-up before either.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, spec: SchedulerSpec | None, *, steps: int, epochs: int
    ) -> None:
        self.spec = spec or SchedulerSpec(name="constant")
        self.optimizer = optimizer
        self.base = [float(group["lr"]) for group in optimizer.param_groups]
        self.total = max(1, steps * epochs)
        self.warmup = round(self.spec.warmup_epochs * steps)
        self.done = 0
        self.epochs = epochs
        self.steps_per_epoch = steps
        self.inner = self._torch_scheduler()
        self._apply()

    def step(self) -> None:
        self.done += 1
        self._apply()

    def epoch(self, monitored: float | None) -> None:
        if self.inner is None:
            return
        if isinstance(self.inner, torch.optim.lr_scheduler.ReduceLROnPlateau):
            if monitored is not None and math.isfinite(monitored):
                self.inner.step(monitored)
        else:
            self.inner.step()

    def state_dict(self) -> dict[str, Any]:
        inner = self.inner.state_dict() if self.inner else None
        rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        return {"done": self.done, "base": self.base, "rates": rates, "inner": _plain(inner) if inner else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = int(state["done"])
        self.base = [float(value) for value in state["base"]]
        if self.inner is not None and state["inner"] is not None:
            self.inner.load_state_dict(state["inner"])
        # Making the schedule has set the rates of a training's beginning.
        self._set([float(value) for value in state["rates"]])

    def _apply(self) -> None:
        warm = min(1.0, (self.done + 1) / self.warmup) if self.warmup and self.done < self.warmup else 1.0
        if self.inner is not None:
            if self.done < self.warmup:
                self._set([base * warm for base in self.base])
            elif self.warmup and self.done == self.warmup:
                self._set(self.base)
            return
        share = self._share()
        self._set([max(base * share, min(self.spec.min_lr, base)) * warm for base in self.base])

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _share(self) -> float:
        """Of the base rate, at this point of training."""
        spec = self.spec
        at = min(1.0, max(0, self.done - self.warmup) / max(1, self.total - self.warmup))
        match spec.name.lower():
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * at))
            case "poly":
                return float((1 - at) ** (spec.power or 0.9))
            case "step":
                every = spec.every or max(1, self.epochs // 3)
                return float((spec.factor or 0.1) ** (self.done // (every * self.steps_per_epoch)))
            case "onecycle":
                rise = 0.3
                if at < rise:
                    return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * at / rise))
                return 0.5 * (1 + math.cos(math.pi * (at - rise) / (1 - rise)))
            case _:
                return 1.0

    def _torch_scheduler(self) -> Any:
        name = self.spec.name.lower()
        if name == "plateau":
            return torch.optim.lr_scheduler.ReduceLROnPlateau(
                self.optimizer,
                mode="min",
                factor=self.spec.factor or 0.1,
                patience=10 if self.spec.patience is None else self.spec.patience,
                min_lr=self.spec.min_lr,
                threshold_mode="abs",
            )
        if name in names.OWN_SCHEDULERS:
            return None
        found = names.canonical(self.spec.name, names.schedulers()) or self.spec.name
        try:
            make: Callable[..., Any] = getattr(torch.optim.lr_scheduler, found)
            return make(self.optimizer, **self.spec.options)
        except (TypeError, ValueError, AttributeError) as error:
            raise NodeError(f"train.scheduler: {found} refuses its arguments: {error}") from error


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """Numbers and lists alone, so that the checkpoint can be read without running code."""
    allowed = (int, float, str, bool, list, dict, tuple, type(None))
    return {key: value for key, value in state.items() if isinstance(value, allowed)}
