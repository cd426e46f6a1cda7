"""FLUX in kohya's format: the names of the original code, where layers of diffusers are joined.

    double_blocks.N.img_attn.qkv   attn.to_q, to_k, to_v                  of transformer_blocks.N
    double_blocks.N.txt_attn.qkv   attn.add_q_proj, add_k_proj, add_v_proj
    single_blocks.N.linear1        attn.to_q, to_k, to_v, proj_mlp        of single_transformer_blocks.N

Their matrices are joined as kohya's own `split_qkv` writes them: downs below each other, ups along the diagonal, so the
rank is that of one layer times their number. What does not learn is nothing in its place. LoKr's products cannot be
joined; they get LyCORIS' names, which go by diffusers' layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from specrun.errors import FormatError

State = dict[str, torch.Tensor]

_OUTER = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
_SWAPPED = "norm_out.linear"
"""diffusers has scale before shift in it, the original code the other way round."""
_DOUBLE = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
}
_SINGLE = {"proj_out": "linear2", "norm.linear": "modulation.lin"}
_JOINED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}
_HEIGHTS = {"proj_mlp": 4}
"""How many times as many outputs as the others of its joined layer it has."""


def original_layer(path: str) -> tuple[str, tuple[str, ...]]:
    """`transformer_blocks.0.attn.to_q` → `double_blocks.0.img_attn.qkv` and all that is joined in it, in order.

    Raises FormatError: the original code has no such layer.
    """
    if path in _OUTER:
        return _OUTER[path], (path,)
    for block, theirs, alone, joined in (
        ("transformer_blocks", "double_blocks", _DOUBLE, ("img_attn.qkv", "txt_attn.qkv")),
        ("single_transformer_blocks", "single_blocks", _SINGLE, ("linear1",)),
    ):
        if found := re.fullmatch(rf"{block}\.(\d+)\.(.+)", path):
            number, rest = found.groups()
            if rest in alone:
                return f"{theirs}.{number}.{alone[rest]}", (path,)
            for name in joined:
                if rest in _JOINED[name]:
                    parts = tuple(f"{block}.{number}.{part}" for part in _JOINED[name])
                    return f"{theirs}.{number}.{name}", parts
    raise FormatError(f"transformer.{path}: the original code of FLUX has no such layer.")


def to_original(layers: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, State]:
    """Layer of diffusers → its `lora_A`, `lora_B` and perhaps `dora` becomes layer of the original code → the same."""
    found: dict[str, State] = {}
    for path in layers:
        name, parts = original_layer(path)
        if name not in found:
            found[name] = dict(layers[path]) if len(parts) == 1 else _joined(name, [layers.get(part) for part in parts])
        if path == _SWAPPED:
            for ending in found[name].keys() - {"lora_A"}:
                found[name][ending] = torch.cat(found[name][ending].chunk(2)[::-1])
    return found


def _joined(name: str, parts: list[Mapping[str, torch.Tensor] | None]) -> State:
    heights = [_HEIGHTS.get(part.rpartition(".")[2], 1) for part in _JOINED[name.split(".", 2)[2]]]
    there = next((part, height) for part, height in zip(parts, heights, strict=True) if part is not None)
    down, unit = there[0]["lora_A"], there[0]["lora_B"].shape[0] // there[1]
    rank, width = down.shape
    joined = {
        "lora_A": down.new_zeros(rank * len(parts), width),
        "lora_B": down.new_zeros(unit * sum(heights), rank * len(parts)),
    }
    top = 0
    for place, (part, height) in enumerate(zip(parts, heights, strict=True)):
        if part is not None:
            columns = slice(rank * place, rank * (place + 1))
            joined["lora_A"][columns] = part["lora_A"]
            joined["lora_B"][top : top + unit * height, columns] = part["lora_B"]
        top += unit * height
    scales = [part["dora"] for part in parts if part is not None and "dora" in part]
    if scales:
        if len(scales) < len(parts):
            raise FormatError(f"{name}: its parts must all learn for DoRA.", hint="Write target_modules: all.")
        joined["dora"] = torch.cat([scale.flatten() for scale in scales])
    return joined
