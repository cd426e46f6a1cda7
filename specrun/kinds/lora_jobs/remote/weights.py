"""Weights that a server delivered: looked at, and written as a finished job's folder has them.

Known are the names of ComfyUI's trainer (`diffusion_model.input_blocks.….lora_up.weight`), of kohya's scripts, of PEFT
and of diffusers before PEFT (`….processor.to_q_lora.up.weight`). alpha / rank goes into the up matrices, so that in
both files alpha equals the rank, which is also what loaders assume where nothing is said.
"""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

from specrun.errors import FormatError
from specrun.training.lora import formats
from specrun.training.lora.base import FamilyName
from specrun.training.lora.finishing import save_lora
from specrun.training.lora.formats import State

_RESNET = ("conv1", "conv2", "time_emb_proj", "conv_shortcut")
_BLOCKS = 4
_WIDTHS: Mapping[int, FamilyName] = {768: "sd", 1024: "sd", 2048: "sdxl"}
"""Width of the text that cross attention sees."""
_MAX_BYTES = 8 * 1024**3


@dataclass(frozen=True, slots=True)
class Delivered:
    """weights: PEFT's names, alpha equal to the rank. left: how many tensors have no place in that format."""

    weights: State
    family: FamilyName
    rank: int
    left: int


def read_delivered(path: Path, guess: FamilyName) -> Delivered:
    """guess: the family where the weights do not tell. Raises FormatError: there are no LoRA weights in it."""
    found = _content(path)
    plain = {name: value for name, value in found.items() if name.endswith((".diff", ".diff_b"))}
    named = _peft_names({name: value for name, value in found.items() if name not in plain}, path)
    weights = _folded(named, path)
    if not weights:
        raise FormatError(f"{path.name}: holds no pair of LoRA matrices among its {len(found)} tensors.", hint=_LOOK)
    ranks = [int(value.shape[0]) for name, value in weights.items() if name.endswith("lora_A.weight")]
    return Delivered(weights, _family(weights) or guess, max(set(ranks), key=ranks.count), len(plain))


_LOOK = "Look at the job's log at the server: did it train a LoRA?"


def save_delivered(folder: Path, delivered: Delivered, described: Mapping[str, Any]) -> None:
    """described: what lora.json says beyond the weights' own."""
    whole = {**described, "family": delivered.family, "rank": delivered.rank, "alpha": delivered.rank}
    metadata = _adapter_metadata(delivered)
    save_lora(folder, delivered.weights, whole, scale=1.0, adapter_metadata=metadata)


def _content(path: Path) -> State:
    """Of a .safetensors file, or of the only one in an archive."""
    try:
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                members = [one for one in archive.getmembers() if one.isfile() and one.size <= _MAX_BYTES]
                file = archive.extractfile(_chosen(path, {one.name: one for one in members}))
                data = file.read() if file is not None else b""
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as folder:
                infos = [one for one in folder.infolist() if one.file_size <= _MAX_BYTES]
                data = folder.read(_chosen(path, {one.filename: one for one in infos}))
        else:
            data = path.read_bytes()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise FormatError(f"{path.name}: cannot be unpacked ({error}).", hint="Run again to fetch it again.") from error
    try:
        found: State = load(data)
    except Exception as error:  # safetensors' own tree
        raise FormatError(f"{path.name}: is no .safetensors file ({error}).", hint=_LOOK) from error
    if not found:
        raise FormatError(f"{path.name}: holds no weights.", hint=_LOOK)
    if bad := [name for name, value in found.items() if not torch.isfinite(value.float()).all()]:
        hint = "The training came apart: lower the learning rate."
        raise FormatError(f"{path.name}: {len(bad)} tensors hold no numbers (NaN), {bad[0]} for one.", hint=hint)
    return found


def _chosen(path: Path, members: Mapping[str, Any]) -> Any:
    names = sorted((name for name in members if name.endswith(".safetensors")), key=lambda n: ("lora" not in n, len(n)))
    if not names:
        raise FormatError(f"{path.name}: the archive has no .safetensors file.", hint=_LOOK)
    return members[names[0]]


def _peft_names(found: Mapping[str, torch.Tensor], path: Path) -> State:
    renamed: State = {}
    lost: list[str] = []
    kohya = _kohya_layers()
    originals = _originals()
    for name, value in found.items():
        new = _peft_name(name, kohya, originals)
        if new is None:
            lost.append(name)
        else:
            renamed[new] = value
    if lost:
        raise FormatError(
            f"{path.name}: {len(lost)} of {len(found)} weights fit no layer of Stable Diffusion, {lost[0]} for one.",
            hint="Weights of SD 1.x, 2.x and SDXL can be taken over; choose a trainer of these families.",
        )
    return renamed


_ENDINGS = (
    (".lora_up.weight", ".lora_B.weight"),
    (".lora_down.weight", ".lora_A.weight"),
    (".lora.up.weight", ".lora_B.weight"),
    (".lora.down.weight", ".lora_A.weight"),
    (".lora_B.weight", ".lora_B.weight"),
    (".lora_A.weight", ".lora_A.weight"),
    ("_lora.up.weight", ".lora_B.weight"),
    ("_lora.down.weight", ".lora_A.weight"),
    (".alpha", ".alpha"),
)


def _peft_name(name: str, kohya: Mapping[str, str], originals: Mapping[str, str]) -> str | None:
    for theirs, ours in _ENDINGS:
        if name.endswith(theirs):
            layer = name.removesuffix(theirs).removeprefix("base_model.model.")
            known = _layer(layer, kohya, originals)
            return None if known is None else known + ours
    return None


def _layer(layer: str, kohya: Mapping[str, str], originals: Mapping[str, str]) -> str | None:
    if layer.startswith("lora_te"):
        return _text_layer(layer)
    if layer.startswith("lora_unet_"):
        return kohya.get(layer)
    if layer.startswith("diffusion_model."):
        return _from_original(layer.removeprefix("diffusion_model."), originals)
    if layer.startswith(("unet.", "text_encoder.", "text_encoder_2.")):
        plain = layer.replace(".processor.", ".")
        return re.sub(r"\.to_out$", ".to_out.0", plain)
    return None


def _text_layer(layer: str) -> str | None:
    found = re.fullmatch(
        r"lora_te(1|2)?_text_model_encoder_layers_(\d+)_(self_attn|mlp)_(q_proj|k_proj|v_proj|out_proj|fc1|fc2)", layer
    )
    if found is None:
        return None
    encoder = "text_encoder_2" if found[1] == "2" else "text_encoder"
    return f"{encoder}.text_model.encoder.layers.{found[2]}.{found[3]}.{found[4]}"


def _from_original(path: str, originals: Mapping[str, str]) -> str | None:
    if path in originals:
        return f"unet.{originals[path]}"
    for cut in range(path.count("."), 0, -1):
        start = ".".join(path.split(".")[:cut])
        if start in originals:
            return f"unet.{originals[start]}.{'.'.join(path.split('.')[cut:])}"
    return None


def _originals() -> dict[str, str]:
    """Place in the original UNet → the same in diffusers', of whole blocks of attention and of single layers."""
    found: dict[str, str] = {}
    for path in _places():
        if path.endswith(".x"):  # a block of attention: what is inside has the same names
            found[formats.original_name(path).removesuffix(".x")] = path.removesuffix(".x")
        else:
            found[formats.original_name(path)] = path
    found["output_blocks.2.1.conv"] = "up_blocks.0.upsamplers.0.conv"  # SD's first block has no attention
    return found


def _places() -> Iterator[str]:
    sides = (("down_blocks", 2), ("up_blocks", 3))
    for side, layers in sides:
        for block in range(_BLOCKS):
            for number in range(layers):
                yield f"{side}.{block}.attentions.{number}.x"
                yield from (f"{side}.{block}.resnets.{number}.{leaf}" for leaf in _RESNET)
            yield f"{side}.{block}.{'down' if layers == 2 else 'up'}samplers.0.conv"
    yield "mid_block.attentions.0.x"
    yield from (f"mid_block.resnets.{number}.{leaf}" for number in (0, 1) for leaf in _RESNET)
    yield from ("conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2")
    yield from ("add_embedding.linear_1", "add_embedding.linear_2")


def _kohya_layers() -> dict[str, str]:
    """`lora_unet_…` → layer, by both of the names that a UNet's layers have."""
    inner = ["proj_in", "proj_out"]
    for number in range(10):
        block = f"transformer_blocks.{number}"
        inner += [f"{block}.attn{n}.{p}" for n in (1, 2) for p in ("to_q", "to_k", "to_v", "to_out.0")]
        inner += [f"{block}.ff.net.0.proj", f"{block}.ff.net.2"]
    found: dict[str, str] = {}
    for path in _places():
        whole = [path.removesuffix("x") + leaf for leaf in inner] if path.endswith(".x") else [path]
        for one in whole:
            for named in (one, formats.original_name(one)):
                found["lora_unet_" + named.replace(".", "_")] = f"unet.{one}"
    return found


def _folded(named: Mapping[str, torch.Tensor], path: Path) -> State:
    """Pairs of matrices in float32 with alpha / rank in the second. Raises FormatError: a matrix without the other."""
    found: State = {}
    layers = {name.rsplit(".lora_", 1)[0] for name in named if not name.endswith(".alpha")}
    for layer in sorted(layers):
        down, up = named.get(f"{layer}.lora_A.weight"), named.get(f"{layer}.lora_B.weight")
        if down is None or up is None or up.shape[1] != down.shape[0]:
            raise FormatError(f"{path.name}: {layer} has no matching pair of matrices.", hint="Run again to fetch it.")
        alpha = named.get(f"{layer}.alpha")
        scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
        found[f"{layer}.lora_A.weight"] = down.float()
        found[f"{layer}.lora_B.weight"] = up.float() * scale
    return found


def _family(weights: Mapping[str, torch.Tensor]) -> FamilyName | None:
    if any(name.startswith(("text_encoder_2.", "unet.add_embedding.")) for name in weights):
        return "sdxl"
    for name, value in weights.items():
        if name.endswith(".attn2.to_k.lora_A.weight"):
            return _WIDTHS.get(int(value.shape[1]))
    return None


def _adapter_metadata(delivered: Delivered) -> str:
    """`lora_adapter_metadata` of diffusers: what PEFT needs to make the same layers."""
    found: dict[str, Any] = {}
    components: dict[str, dict[str, int]] = {}
    for name, value in delivered.weights.items():
        if name.endswith(".lora_A.weight"):
            component, _, layer = name.removesuffix(".lora_A.weight").partition(".")
            components.setdefault(component, {})[layer] = int(value.shape[0])
    for component, ranks in components.items():
        other = {layer: rank for layer, rank in ranks.items() if rank != delivered.rank}
        found[f"{component}.r"] = delivered.rank
        found[f"{component}.lora_alpha"] = delivered.rank
        found[f"{component}.target_modules"] = sorted(ranks)
        found[f"{component}.rank_pattern"] = other
        found[f"{component}.alpha_pattern"] = other
    return json.dumps(found, sort_keys=True)
