"""Weights of kohya's format put on a model by hand, as ComfyUI reads them: W + alpha / rank * up @ down.

With `dora_scale` along outputs that sum is multiplied by it and divided by the length of W's rows. That ComfyUI's own
loader does the same was seen with version 0.28.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def apply_kohya(
    module: Any, weights: Mapping[str, torch.Tensor], names: Mapping[str, str], strength: float = 1.0
) -> int:
    """names: kohya's name of a layer → the layer's name in the module. Returns how many layers were changed."""
    layers = dict(module.named_modules())
    changed = 0
    for key in weights:
        name, _, ending = key.partition(".")
        if ending != "lora_down.weight" or name not in names:
            continue
        weight = layers[names[name]].weight
        down, up = weights[key].double(), weights[f"{name}.lora_up.weight"].double()
        scale = float(weights[f"{name}.alpha"]) / down.shape[0]
        difference = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * scale
        merged = weight.double() + strength * difference
        if f"{name}.dora_scale" in weights:
            magnitude = weights[f"{name}.dora_scale"].double()
            assert magnitude.shape[0] == weight.shape[0]
            merged = merged * (magnitude / weight.double().flatten(1).norm(dim=1).reshape(magnitude.shape))
        weight.data = merged.to(weight.dtype)
        changed += 1
    return changed
