"""A training workflow of ComfyUI's own nodes, fitted to what a server has.

Current servers: LoadImageTextDataSetFromFolder gives images and texts, which VAEEncode and CLIPTextEncode take one by
one. Servers of 2025 up to that: LoadImageTextSetFromFolderNode gives one batch and its conditioning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specrun.clients.comfyui import Comfy, Workflow, choices_of, inputs_of
from specrun.errors import NodeError
from specrun.kinds.lora_remote.backends import ComfyBackend
from specrun.training.lora.settings import LoraTraining

_NEW, _OLD = "LoadImageTextDataSetFromFolder", "LoadImageTextSetFromFolderNode"
_TRAIN, _SAVE, _GRAPH = "TrainLoraNode", "SaveLoRA", "LossGraphNode"
_ALWAYS = ("CheckpointLoaderSimple", "VAEEncode", _TRAIN, _SAVE)
TRAINER, GRAPH = "train", "graph"
"""Ids of the nodes that are watched and read."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """What a server says of the nodes that are needed. loader: the class that reads the folder."""

    told: Mapping[str, Mapping[str, Any]]
    loader: str
    checkpoint: str


def look_at_nodes(comfy: Comfy, spec: LoraTraining, backend: ComfyBackend) -> Nodes:
    """Raises NodeError: the server lacks nodes or the base model."""
    names = (*_ALWAYS, "CLIPTextEncode", _NEW, _OLD, _GRAPH)
    told = {name: found for name in names if (found := comfy.node(name)) is not None}
    loader = _NEW if _NEW in told else _OLD
    missing = [name for name in (*_ALWAYS, "CLIPTextEncode", loader) if name not in told]
    if missing:
        hint = "Update ComfyUI: its training nodes came in 2025 and are part of it (comfy_extras)."
        raise NodeError(f"{comfy.host}: the server has no {', '.join(missing)}, so it cannot train.", hint=hint)
    wanted = backend.checkpoint or spec.base_model.rsplit("/", 1)[-1]
    known = choices_of(inputs_of(told["CheckpointLoaderSimple"]).get("ckpt_name"))
    fitting = [
        one for one in known if wanted in (one, one.replace("\\", "/").rsplit("/", 1)[-1], one.rpartition(".")[0])
    ]
    if not fitting:
        listed = ", ".join(known[:5]) + (" …" if len(known) > 5 else "")
        hint = f"Write backend.checkpoint with one of its files: {listed or 'it has none (models/checkpoints)'}."
        raise NodeError(f"{comfy.host}: the server has no checkpoint {wanted}.", hint=hint)
    return Nodes(told, loader, fitting[0])


def training_workflow(nodes: Nodes, spec: LoraTraining, *, folder: str, prefix: str, steps: int, seed: int) -> Workflow:
    """folder: of the images, in the server's input folder. prefix: of the weights, in its output folder."""
    found: dict[str, dict[str, Any]] = {
        "base": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": nodes.checkpoint}},
        "data": {"class_type": nodes.loader, "inputs": _loader_inputs(nodes, spec, folder)},
        "latents": {"class_type": "VAEEncode", "inputs": {"pixels": ["data", 0], "vae": ["base", 2]}},
    }
    positive = ["data", 1]
    if nodes.loader == _NEW:
        found["captions"] = {"class_type": "CLIPTextEncode", "inputs": {"text": ["data", 1], "clip": ["base", 1]}}
        positive = ["captions", 0]
    wanted = {
        **_training_inputs(spec, steps, seed),
        "model": ["base", 0],
        "latents": ["latents", 0],
        "positive": positive,
    }
    found[TRAINER] = {"class_type": _TRAIN, "inputs": _fitted(nodes.told[_TRAIN], wanted, _TRAIN)}
    outputs = [str(one) for one in nodes.told[_TRAIN].get("output") or []]
    lora = outputs.index("LORA_MODEL") if "LORA_MODEL" in outputs else 0
    found["save"] = {"class_type": _SAVE, "inputs": {"lora": [TRAINER, lora], "prefix": prefix}}
    if _GRAPH in nodes.told and "LOSS_MAP" in outputs:
        graph = {"loss": [TRAINER, outputs.index("LOSS_MAP")], "filename_prefix": "specrun_loss"}
        found[GRAPH] = {"class_type": _GRAPH, "inputs": graph}
    return found


def _loader_inputs(nodes: Nodes, spec: LoraTraining, folder: str) -> dict[str, Any]:
    if nodes.loader == _NEW:
        return {"folder": folder}
    width, height = spec.resolution
    wanted = {"folder": folder, "clip": ["base", 1], "resize_method": "Crop", "width": width, "height": height}
    return _fitted(nodes.told[_OLD], wanted, _OLD)


def _training_inputs(spec: LoraTraining, steps: int, seed: int) -> dict[str, Any]:
    precision = "fp32" if spec.mixed_precision == "no" else "bf16"
    return {
        "batch_size": spec.batch,
        "grad_accumulation_steps": spec.gradient_accumulation,
        "steps": steps,
        "learning_rate": spec.learning_rate,
        "rank": spec.rank,
        "optimizer": "AdamW",
        "loss_function": "MSE",
        "seed": seed,
        "training_dtype": precision,
        "lora_dtype": precision,
        "algorithm": "LoRA",
        "gradient_checkpointing": spec.gradient_checkpointing,
        "existing_lora": "[None]",
    }


def _fitted(node: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Of the wanted inputs those that the node has; others get their default. Raises NodeError: one has none."""
    found: dict[str, Any] = {}
    required = node["input"].get("required") or {}
    for key, declared in inputs_of(node).items():
        if key in wanted:
            found[key] = _choice(wanted[key], declared)
            continue
        more = declared[1] if isinstance(declared, list) and len(declared) > 1 else None
        if isinstance(more, Mapping) and "default" in more:
            found[key] = more["default"]
        elif choices := choices_of(declared):
            found[key] = choices[0]
        elif key in required:
            hint = "It is newer than what specrun knows: report it with the server's version."
            raise NodeError(f"{name}: the server's node wants {key}, which specrun knows nothing of.", hint=hint)
    return found


def _choice(value: Any, declared: Any) -> Any:
    """As the server writes it: LoRA may be called lora."""
    if not isinstance(value, str):
        return value
    same = [one for one in choices_of(declared) if one.lower() == value.lower()]
    return same[0] if same else value
