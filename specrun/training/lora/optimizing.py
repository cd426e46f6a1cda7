"""Optimizers, learning rates and averaged weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from specrun.errors import MissingDependency
from specrun.training.lora.settings import LoraTraining

Groups = list[dict[str, Any]]


def make_optimizer(groups: Groups, spec: LoraTraining) -> torch.optim.Optimizer:
    """groups: parameters, each with its rate. Raises MissingDependency."""
    decay = spec.weight_decay
    match spec.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, weight_decay=decay, eps=1e-8)
        case "adamw8bit":
            return _eight_bit(groups, decay)
        case "prodigy":
            return _prodigy(groups, decay)
        case "adafactor":
            from transformers.optimization import Adafactor

            found: torch.optim.Optimizer = Adafactor(
                groups, weight_decay=decay, scale_parameter=False, relative_step=False, warmup_init=False
            )
            return found


def _eight_bit(groups: Groups, decay: float) -> torch.optim.Optimizer:
    """Matrices below 4,096 numbers keep whole averages, as bitsandbytes does it."""
    try:
        import bitsandbytes
    except ImportError as error:
        hint = "Install the extra (pip install 'specrun[lora]'), or write optimizer: adamw."
        raise MissingDependency(f"optimizer: adamw8bit needs bitsandbytes ({error}).", hint=hint) from error
    found: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(groups, weight_decay=decay)
    return found


def _prodigy(groups: Groups, decay: float) -> torch.optim.Optimizer:
    try:
        import prodigyopt
    except ImportError as error:
        hint = "Install the extra (pip install 'specrun[lora]'), or write optimizer: adamw."
        raise MissingDependency(f"optimizer: prodigy needs prodigyopt ({error}).", hint=hint) from error
    found: torch.optim.Optimizer = prodigyopt.Prodigy(
        groups, weight_decay=decay, decouple=True, use_bias_correction=True, safeguard_warmup=True
    )
    return found


def make_schedule(optimizer: torch.optim.Optimizer, spec: LoraTraining, steps: int) -> Any:
    """The factor of the learning rate, step by step."""
    from diffusers.optimization import get_scheduler

    name = "constant_with_warmup" if spec.lr_scheduler == "constant" else spec.lr_scheduler
    warmup = min(spec.warmup_steps, steps)
    return get_scheduler(
        name,
        optimizer=optimizer,
        num_warmup_steps=warmup,
        num_training_steps=steps,
        num_cycles=spec.lr_cycles,
        power=spec.lr_power,
    )


class Average:
    """Weights averaged over time; young averages follow faster."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.steps = 0
        self.held = [parameter.detach().clone() for parameter in self.parameters]
        self._aside: list[torch.Tensor] = []

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for held, parameter in zip(self.held, self.parameters, strict=True):
            held.lerp_(parameter.detach(), 1 - decay)

    @torch.no_grad()
    def __enter__(self) -> None:
        """The averages stand in for the weights."""
        self._aside = [parameter.detach().clone() for parameter in self.parameters]
        for held, parameter in zip(self.held, self.parameters, strict=True):
            parameter.copy_(held)

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for aside, parameter in zip(self._aside, self.parameters, strict=True):
            parameter.copy_(aside)
        self._aside = []

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "held": self.held}

    def load(self, state: Mapping[str, Any]) -> None:
        self.steps = int(state["steps"])
        for held, saved in zip(self.held, state["held"], strict=True):
            held.copy_(saved)


def step_in_backward(optimizer: Any, parameters: Sequence[nn.Parameter]) -> None:
    """Each weight takes its step as soon as its gradient is there, which is then let go.

    Adafactor treats weights one by one, so this is the same as a step after the backward pass.
    """
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}

    def take(ready: torch.Tensor) -> None:
        whole = optimizer.param_groups
        optimizer.param_groups = [{**groups[id(ready)], "params": [ready]}]
        optimizer.step()
        optimizer.param_groups = whole
        ready.grad = None

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(take)
