"""DoRA's magnitudes as readers of kohya's format take them.

PEFT and LyCORIS divide the changed weight by its own length, row by row: m * (W + D) / |W + D|. ComfyUI and Forge
divide by the length that the base's row has: s * (W + D) / |W| (comfy/weight_adapter/base.py, weight_decompose, for a
`dora_scale` along outputs). They are what such files are mostly read by, so s = m * |W| / |W + D| is written, with
which they give PEFT's weight. A1111 knows lengths along inputs alone, so that no such file is right there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

_MAGNITUDE = "lora_magnitude_vector"


def magnitudes_for_readers(
    weights: Mapping[str, torch.Tensor], modules: Mapping[str, nn.Module], scale: float
) -> dict[str, torch.Tensor]:
    """By the same names; empty for other networks.

    weights: with PEFT's names. modules: component → the module with the network in it. scale: of up @ down.
    """
    found = {}
    for name in [name for name in weights if _MAGNITUDE in name]:
        layer = name[: name.index(f".{_MAGNITUDE}")]
        base = _base_weight(modules, layer)
        down, up = weights[f"{layer}.lora_A.weight"].float(), weights[f"{layer}.lora_B.weight"].float()
        change = scale * (up.flatten(1) @ down.flatten(1))
        ratio = base.norm(dim=1) / (base + change).norm(dim=1)
        value = weights[name]
        found[name] = (value.float() * ratio.reshape(value.shape)).to(value.dtype)
    return found


def _base_weight(modules: Mapping[str, nn.Module], layer: str) -> torch.Tensor:
    """(outputs, all others) in float32, on the CPU."""
    component, _, path = layer.partition(".")
    module = modules[component]
    names = (path, path.removeprefix("text_model."))  # newer transformers leave `text_model` out
    found = next(module.get_submodule(name) for name in names if _has(module, name))
    weight: torch.Tensor = getattr(found, "base_layer", found).weight
    return weight.detach().cpu().float().flatten(1)


def _has(module: nn.Module, name: str) -> bool:
    try:
        module.get_submodule(name)
    except AttributeError:
        return False
    return True
