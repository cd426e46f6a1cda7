"""Which layers of a base model learn, by the names and widths of its layers alone. Light: planning asks it too."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from specrun.spec.kind import Problem
from specrun.spec.suggest import did_you_mean, listed
from specrun.training.lora.base import FamilyName
from specrun.training.lora.settings import LoraTraining

Wanted = Literal["attention", "all", "convolutions"]

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_OF_UNETS: Mapping[Wanted, tuple[str, ...]] = {
    "attention": _ATTENTION,
    "all": (*_ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    # As kohya's scripts: all linear and convolution layers of residual blocks and of changes of size.
    "convolutions": ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
}
_FLUX_ATTENTION = (*_ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
_FLUX_OTHERS = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "proj_mlp")
_FLUX_LAST = re.compile(r"single_transformer_blocks\.\d+\.proj_out")
"""By whole names: the last layer of all is a proj_out too, and belongs to no block."""
_TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_TEXT_ALL = (*_TEXT_ATTENTION, "fc1", "fc2")


def denoiser_targets(spec: LoraTraining, family: FamilyName, layers: Collection[str]) -> list[str]:
    """Endings of the names of the layers that learn. layers: all that could."""
    wanted = spec.target_modules
    names = _usual(wanted, family, layers) if isinstance(wanted, str) else list(wanted)
    if spec.network == "locon":
        names += [name for name in _usual("convolutions", family, layers) if name not in names]
    return names


def text_targets(spec: LoraTraining) -> list[str]:
    return list(_TEXT_ALL if spec.target_modules == "all" else _TEXT_ATTENTION)


def ends_with(layer: str, ending: str) -> bool:
    return layer == ending or layer.endswith(f".{ending}")


def layer_problems(
    spec: LoraTraining, targets: Sequence[str], widths: Mapping[str, int], component: str
) -> Iterator[Problem]:
    """widths: layer of the component → its narrower side. targets: endings of names."""
    if isinstance(spec.target_modules, list):
        ours = [name for name in targets if name in spec.target_modules]
        if wrong := [name for name in ours if not any(ends_with(layer, name) for layer in widths)]:
            there = sorted({name.rsplit(".", 1)[-1] for name in widths} - {str(digit) for digit in range(10)})
            near = did_you_mean(wrong[0], [*there, *_ATTENTION]) if len(wrong) == 1 else None
            hint = near or f"Its layers end with {', '.join(there)}."
            yield Problem("target_modules", f"the {component} has no layer named {listed(wrong)}.", hint)
    if spec.network == "lokr":
        return
    learning = {name: width for name, width in widths.items() if any(ends_with(name, target) for target in targets)}
    narrowest = min(learning, key=lambda name: learning[name], default=None)
    if narrowest is not None and spec.rank > learning[narrowest]:
        width = learning[narrowest]
        message = f"{spec.rank} is above the width of {component}.{narrowest}, which is {width}."
        yield Problem("rank", message, f"Write rank: {width} or less.")


def _usual(wanted: Wanted, family: FamilyName, layers: Collection[str]) -> list[str]:
    if family != "flux":
        return list(_OF_UNETS[wanted])
    match wanted:
        case "attention":
            return list(_FLUX_ATTENTION)
        case "all":
            return [*_FLUX_ATTENTION, *_FLUX_OTHERS, *(name for name in layers if _FLUX_LAST.fullmatch(name))]
        case "convolutions":
            return []
