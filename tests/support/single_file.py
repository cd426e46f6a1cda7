"""A base model of tiny_diffusion as one file in the layout of the original code, as people pass checkpoints on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from specrun.training.lora.formats import original_name

_NORMS = {"norm1": "in_layers.0", "norm2": "out_layers.0"}
_VAE = (
    (r"\.down_blocks\.(\d+)\.resnets\.(\d+)", r".down.\1.block.\2"),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0", r".down.\1.downsample"),
    (r"\.mid_block\.resnets\.0", ".mid.block_1"),
    (r"\.mid_block\.resnets\.1", ".mid.block_2"),
    (r"\.mid_block\.attentions\.0\.group_norm", ".mid.attn_1.norm"),
    (r"\.mid_block\.attentions\.0\.to_out\.0", ".mid.attn_1.proj_out"),
    (r"\.mid_block\.attentions\.0\.to_", ".mid.attn_1."),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
)
_OPEN_CLIP = (
    ("encoder.layers.", "transformer.resblocks."),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("embeddings.token_embedding", "token_embedding"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("final_layer_norm", "ln_final"),
)


def single_file(folder: Path, target: Path, kind: Any, **more: Any) -> Path:
    """kind: the pipeline's class. more: further tensors, such as the marks of a checkpoint that predicts velocity."""
    from safetensors.torch import save_file

    pipe = kind.from_pretrained(folder, local_files_only=True)
    found = dict(_unet(pipe.unet.state_dict())) | dict(_vae(pipe.vae.state_dict()))
    if getattr(pipe, "text_encoder_2", None) is None:
        found |= _clip(pipe.text_encoder.state_dict(), "cond_stage_model.transformer.")
    else:
        found |= _clip(pipe.text_encoder.state_dict(), "conditioner.embedders.0.transformer.")
        found |= dict(_open_clip(pipe.text_encoder_2.state_dict()))
    save_file({name: value.contiguous() for name, value in {**found, **more}.items()}, target)
    return target


def configuration(folder: Path, target: Path) -> Path:
    """Of a base model, without its weights."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    return target


def _unet(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in state.items():
        layer, _, ending = name.rpartition(".")
        block, _, last = layer.rpartition(".")
        if layer == "conv_norm_out":
            named = "out.0"
        elif last in _NORMS and ".resnets." in layer:
            named = original_name(f"{block}.conv1").replace("in_layers.2", _NORMS[last])
        else:
            named = original_name(layer)
        yield f"model.diffusion_model.{named}.{ending}", value


def _vae(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    blocks = 1 + max(int(found[1]) for name in state if (found := re.search(r"up_blocks\.(\d+)", name)))
    for name, value in state.items():
        named = name
        for pattern, theirs in _VAE:
            named = re.sub(pattern, theirs, named)
        if found := re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)", name):
            place = blocks - 1 - int(found[1])
            inner = f"block.{found[3]}" if found[2] == "resnets" else "upsample"
            named = named.replace(found[0], f"decoder.up.{place}.{inner}")
        is_linear = ".attentions." in name and value.dim() == 2
        yield f"first_stage_model.{named}", value[..., None, None] if is_linear else value


def _clip(state: Mapping[str, Any], start: str) -> dict[str, Any]:
    return {f"{start}text_model.{name.removeprefix('text_model.')}": value for name, value in state.items()}


def _open_clip(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    import torch

    start = "conditioner.embedders.1.model."
    for name, value in state.items():
        plain = name.removeprefix("text_model.")
        if plain == "text_projection.weight":
            yield f"{start}text_projection", value.T
            continue
        if found := re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)", plain):
            parts = [state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            yield f"{start}transformer.resblocks.{found[1]}.attn.in_proj_{found[2]}", torch.cat(parts)
            continue
        if re.search(r"self_attn\.[kv]_proj", plain):
            continue
        for ours, theirs in _OPEN_CLIP:
            plain = plain.replace(ours, theirs)
        yield f"{start}{plain}", value
