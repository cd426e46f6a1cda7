"""The network that is learnt: which layers get one, how it is put in, and its weights by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from specrun.errors import NodeError
from specrun.training.lora import layers
from specrun.training.lora.families import Family
from specrun.training.lora.settings import LoraTraining

ADAPTER = "default"
State = dict[str, torch.Tensor]


def denoiser_targets(spec: LoraTraining, family: Family, denoiser: nn.Module) -> list[str]:
    """Endings of the names of the layers that learn."""
    return layers.denoiser_targets(spec, family.name, _widths(denoiser))


def adapter_config(spec: LoraTraining, targets: list[str]) -> Any:
    """A LoraConfig, or a LoKrConfig for network: lokr."""
    from peft import LoKrConfig, LoraConfig

    alpha = int(spec.alpha) if float(spec.alpha).is_integer() else spec.alpha
    if spec.network == "lokr":
        return LoKrConfig(
            r=spec.rank, alpha=alpha, target_modules=targets, module_dropout=spec.dropout, decompose_both=False
        )
    return LoraConfig(
        r=spec.rank,
        lora_alpha=alpha,
        lora_dropout=spec.dropout,
        target_modules=targets,
        use_dora=spec.network == "dora",
        use_rslora=spec.rslora,
        init_lora_weights=True,
    )


def inject(module: nn.Module, spec: LoraTraining, targets: list[str], seed: int, what: str) -> Any:
    """Put the network in; its weights are float32 and learn, all others do not. Returns its config.

    Raises NodeError: no layer has such a name, or the rank is above a layer's width.
    """
    from peft import inject_adapter_in_model

    widths = _widths(module)
    for problem in layers.layer_problems(spec, targets, widths, what):
        raise NodeError(f"{problem.path}: {problem.message}", hint=problem.hint)
    there = [name for name in targets if any(layers.ends_with(layer, name) for layer in widths)]
    module.requires_grad_(False)
    config = adapter_config(spec, there)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, module, adapter_name=ADAPTER)
    for _, parameter in trainable(module):
        parameter.data = parameter.data.float()
    return config


def trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]


def adapter_state(module: nn.Module) -> State:
    """The network's weights with PEFT's names, on the CPU, as contiguous copies."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(module, adapter_name=ADAPTER)
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}


def load_adapter(module: nn.Module, state: Mapping[str, torch.Tensor], what: str) -> None:
    """Raises NodeError: names do not fit."""
    from peft import set_peft_model_state_dict

    result = set_peft_model_state_dict(module, dict(state), adapter_name=ADAPTER)
    wrong = list(result.unexpected_keys) + [name for name in result.missing_keys if f".{ADAPTER}" in name]
    if wrong:
        raise NodeError(f"{what}: {len(wrong)} of {len(state)} weights do not fit, such as {wrong[0]}.")


def metadata(configs: Mapping[str, Any]) -> str:
    """What diffusers reads as `lora_adapter_metadata`: without it, alpha is taken to be the rank.

    configs: `unet`, `transformer` or `text_encoder` → its config.
    """
    flat: dict[str, Any] = {}
    for prefix, config in configs.items():
        for key, value in config.to_dict().items():
            plain = sorted(value) if isinstance(value, set) else value
            flat[f"{prefix}.{key}"] = plain
    return json.dumps(flat, sort_keys=True, default=str)


def _widths(module: nn.Module) -> dict[str, int]:
    """Layer that can learn → its narrower side."""
    return {
        name: min(layer.weight.shape[0], layer.weight[0].numel())
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
