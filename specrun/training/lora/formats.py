"""The two files of a finished LoRA job, and the way from one to the other.

lora.safetensors         names of diffusers and PEFT: `unet.down_blocks.0.….to_q.lora_A.weight`; rank, alpha and
                         the like stand in the metadata as `lora_adapter_metadata`
lora_kohya.safetensors   names of kohya's scripts, which ComfyUI and A1111 load: `lora_unet_….lora_down.weight`,
                         `….lora_up.weight`, `….alpha`, `….dora_scale`; text encoders are `lora_te_` for
                         SD and `lora_te1_`, `lora_te2_` for SDXL, whose UNet has the names of the original code;
                         of FLUX see kohya_flux

The change to a weight is alpha / rank * up @ down. rsLoRA's alpha / sqrt(rank) is written as the alpha that gives the
same. diffusers' own conversion is not used: it writes alpha = rank whatever was trained.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from specrun.errors import FormatError
from specrun.training.lora import kohya_flux
from specrun.training.lora.base import FamilyName

PEFT_NAME = "lora.safetensors"
KOHYA_NAME = "lora_kohya.safetensors"
State = dict[str, torch.Tensor]

_TEXT_PREFIXES: Mapping[FamilyName, Mapping[str, str]] = {
    "sd": {"text_encoder": "lora_te"},
    "sdxl": {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
    "flux": {"text_encoder": "lora_te1"},
}
_ENDINGS = {
    "lora_A.weight": "lora_down.weight",
    "lora_B.weight": "lora_up.weight",
    "lora_magnitude_vector": "dora_scale",
    "lokr_w1": "lokr_w1",
    "lokr_w1_a": "lokr_w1_a",
    "lokr_w1_b": "lokr_w1_b",
    "lokr_w2": "lokr_w2",
    "lokr_w2_a": "lokr_w2_a",
    "lokr_w2_b": "lokr_w2_b",
    "lokr_t2": "lokr_t2",
}
_LAYERS_PER_BLOCK = 2
_OF_FLUX = {"lora_A.weight": "lora_A", "lora_B.weight": "lora_B", "lora_magnitude_vector": "dora"}
_VERSIONS: Mapping[FamilyName, tuple[str, str]] = {
    "sd": ("sd", "stable-diffusion-v1"),
    "sdxl": ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
    "flux": ("flux1", "flux-1-dev"),
}
"""As kohya's scripts and the ModelSpec call them."""
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
"""As the ModelSpec calls them; of flow matching it says nothing."""


def packed(states: Mapping[str, Mapping[str, torch.Tensor]]) -> State:
    """component (`unet`, `text_encoder`) → its weights, as one dictionary with PEFT's names.

    Text encoders always carry `text_model.`, which newer transformers leave out and loaders take off again. Their
    magnitudes of DoRA end in `.weight`: transformers, which loads them, finds them by no other name and says nothing.
    """
    found: State = {}
    for component, state in states.items():
        for name, value in state.items():
            of_text = component.startswith("text_encoder")
            start = "text_model." if of_text and not name.startswith(("text_model.", "text_projection.")) else ""
            end = ".weight" if of_text and name.endswith(".lora_magnitude_vector") else ""
            found[f"{component}.{start}{name}{end}"] = value
    return found


def unpacked(weights: Mapping[str, torch.Tensor], component: str, *, flat: bool = False) -> State:
    """The weights of one component. flat: its module has no `text_model`."""
    start = f"{component}."
    names = {name: name.removeprefix(start) for name in weights if name.startswith(start)}
    return {(short.removeprefix("text_model.") if flat else short): weights[name] for name, short in names.items()}


def to_kohya(weights: Mapping[str, torch.Tensor], *, family: FamilyName, scale: float) -> State:
    """PEFT's names → kohya's, with the alpha that gives the same change.

    scale: what the product of up and down is multiplied by. Raises FormatError: a name that has no counterpart.
    """
    if family == "flux":
        weights = _flux_joined(weights)
    found: State = {}
    ranks: dict[str, int] = {}
    for name, value in weights.items():
        layer, ending = _split(name)
        kohya = _layer_to_kohya(layer, family)
        if ending == "lora_magnitude_vector":
            value = value.reshape(-1, *([1] * (_dimensions(weights, layer) - 1)))
        found[f"{kohya}.{_ENDINGS[ending]}"] = value.contiguous()
        if ending in ("lora_A.weight", "lokr_w1_b", "lokr_w2_b"):
            ranks[kohya] = int(value.shape[0])
    for name in [name for name in found if name.endswith(".lokr_w1") and name.partition(".")[0] not in ranks]:
        # Both factors are whole, so there is no rank to divide by: readers take such a product as it is.
        found[name] = found[name] * scale
        found[f"{name.partition('.')[0]}.alpha"] = torch.tensor(1.0)
    for kohya, rank in ranks.items():
        found[f"{kohya}.alpha"] = torch.tensor(float(scale * rank))
    return dict(sorted(found.items()))


def save_weights(path: Path, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Replaced in one step; the same weights and metadata give the same bytes."""
    partial = path.with_name(f"{path.name}.part")
    save_file({name: value.contiguous() for name, value in weights.items()}, partial, {"format": "pt", **metadata})
    _sort_metadata(partial)
    os.replace(partial, path)


def _sort_metadata(path: Path) -> None:
    """safetensors writes metadata in another order each time; what is made from the file would be made anew.

    Source: the "Format" section of safetensors' README: 8 bytes of length, JSON padded with spaces, values.
    """
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        written = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(written) <= length:  # the same content: never more than it was
            file.seek(8)
            file.write(written.ljust(length))


def load_weights(path: Path) -> State:
    """Raises FormatError: it cannot be read or holds no LoRA weights."""
    try:
        found: State = load_file(path)
    except Exception as error:
        raise FormatError(f"{path}: is no readable .safetensors file ({error}).") from error
    if not found:
        raise FormatError(f"{path}: holds no weights.")
    return found


def kohya_metadata(described: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, str]:
    """The `ss_` keys that ComfyUI's and A1111's lists read."""
    width, height = described["resolution"]
    version, architecture = _VERSIONS[described["family"]]
    values = {
        "ss_network_module": _network_module(described),
        "ss_network_dim": described["rank"],
        "ss_network_alpha": described["alpha"],
        "ss_base_model_version": version,
        "ss_sd_model_name": described["base_model"],
        "ss_sd_model_hash": described["base_digest"],
        "ss_resolution": f"({width}, {height})",
        "ss_steps": described["steps"],
        "ss_output_name": "lora_kohya",
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.trigger_phrase": described["trigger"] or "",
    }
    if (kind := described.get("prediction")) in _PREDICTIONS:
        values["modelspec.prediction_type"] = _PREDICTIONS[kind]
        values["ss_zero_terminal_snr"] = described["zero_terminal_snr"]
    return {**{key: str(value) for key, value in values.items()}, **plain_metadata(described, versions)}


def _network_module(described: Mapping[str, Any]) -> str:
    if described["network"] not in ("lora", "dora"):
        return "lycoris.kohya"
    return "networks.lora_flux" if described["family"] == "flux" else "networks.lora"


def plain_metadata(described: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, str]:
    """lora.json as text, key by key."""
    own = {f"specrun.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in described.items()}
    return {**own, "specrun.versions": json.dumps(dict(versions), sort_keys=True)}


def _flux_joined(weights: Mapping[str, torch.Tensor]) -> State:
    """The transformer's layers as the original code has them; LoKr's stay as they are."""
    layers: dict[str, State] = {}
    others: State = {}
    for name, value in weights.items():
        layer, ending = _split(name)
        if layer.startswith("transformer.") and ending in _OF_FLUX:
            layers.setdefault(layer.removeprefix("transformer."), {})[_OF_FLUX[ending]] = value
        else:
            others[name] = value
    back = {short: ending for ending, short in _OF_FLUX.items()}
    for layer, state in kohya_flux.to_original(layers).items():
        others |= {f"original.{layer}.{back[short]}": value for short, value in state.items()}
    return others


def _split(name: str) -> tuple[str, str]:
    for ending in sorted(_ENDINGS, key=len, reverse=True):
        for written in (ending, f"{ending}.weight"):
            if name.endswith(f".{written}"):
                return name.removesuffix(f".{written}"), ending
    raise FormatError(f"{name} is no weight of a LoRA.", hint="Expected lora_A, lora_B, lora_magnitude_vector or lokr.")


def _dimensions(weights: Mapping[str, torch.Tensor], layer: str) -> int:
    return int(weights[f"{layer}.lora_B.weight"].dim())


def _layer_to_kohya(layer: str, family: FamilyName) -> str:
    component, _, path = layer.partition(".")
    if component == "original":
        return "lora_unet_" + path.replace(".", "_")
    if component == "transformer":
        return "lycoris_" + path.replace(".", "_")
    if component == "unet":
        named = original_name(path) if family == "sdxl" else path
        return "lora_unet_" + named.replace(".", "_")
    prefix = _TEXT_PREFIXES[family].get(component)
    if prefix is None:
        if component.startswith("text_encoder"):
            return f"lora_te{component.removeprefix('text_encoder').replace('_', '')}_" + path.replace(".", "_")
        raise FormatError(f"{layer}: kohya's format has no {component}.")
    return f"{prefix}_" + path.replace(".", "_")


def original_name(path: str) -> str:
    """A layer of diffusers' UNet as the original code of Stable Diffusion names it.

    `down_blocks.1.attentions.0.proj_in` → `input_blocks.4.1.proj_in`.
    """
    for ours, theirs in _OUTER.items():
        if path == ours or path.startswith(f"{ours}."):
            return theirs + path.removeprefix(ours)
    if found := re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", path):
        block, sort, number, rest = found.groups()
        place = 1 + int(block) * (_LAYERS_PER_BLOCK + 1) + int(number)
        return f"input_blocks.{place}.{_inner(sort, rest)}"
    if found := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", path):
        return f"input_blocks.{(int(found[1]) + 1) * (_LAYERS_PER_BLOCK + 1)}.0.op"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", path):
        sort, number, rest = found.groups()
        place = 1 if sort == "attentions" else 2 * int(number)
        return f"middle_block.{place}.{_inner(sort, rest)[2:]}"
    if found := re.fullmatch(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", path):
        block, sort, number, rest = found.groups()
        return f"output_blocks.{int(block) * (_LAYERS_PER_BLOCK + 1) + int(number)}.{_inner(sort, rest)}"
    if found := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv", path):
        return f"output_blocks.{int(found[1]) * (_LAYERS_PER_BLOCK + 1) + _LAYERS_PER_BLOCK}.2.conv"
    raise FormatError(f"unet.{path}: the original UNet has no such layer.")


_OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def _inner(sort: str, rest: str) -> str:
    return f"1.{rest}" if sort == "attentions" else f"0.{_RESNET.get(rest, rest)}"
