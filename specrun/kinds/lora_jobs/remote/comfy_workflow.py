"""A training workflow of ComfyUI's own nodes, fitted to what a server has.

Current servers: LoadImageTextDataSetFromFolder gives images and texts, which VAEEncode and CLIPTextEncode take one by
one. Servers of 2025 up to that (0.3.64 was seen): LoadImageTextSetFromFolderNode gives one batch and its conditioning,
so that its pictures must be of one size, and SaveLoRA is called SaveLoRANode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specrun.clients.comfyui import Comfy, Workflow, choices_of, inputs_of, known_file
from specrun.errors import NodeError
from specrun.kinds.lora_jobs.remote.backends import ComfyBackend
from specrun.training.lora.settings import LoraTraining

_NEW, _OLD = "LoadImageTextDataSetFromFolder", "LoadImageTextSetFromFolderNode"
_TRAIN, _GRAPH = "TrainLoraNode", "LossGraphNode"
_SAVE, _OLD_SAVE = "SaveLoRA", "SaveLoRANode"
_ALWAYS = ("CheckpointLoaderSimple", "VAEEncode", "CLIPTextEncode", _TRAIN)
TRAINER, GRAPH = "train", "graph"
"""Ids of the nodes that are watched and read."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """What a server says of the nodes that are needed. loader, saver: the classes that read the folder and write."""

    told: Mapping[str, Mapping[str, Any]]
    loader: str
    saver: str
    checkpoint: str

    @property
    def one_size(self) -> bool:
        """All pictures are read as one batch."""
        return self.loader == _OLD


def look_at_nodes(comfy: Comfy, spec: LoraTraining, backend: ComfyBackend) -> Nodes:
    """Raises NodeError: the server lacks nodes or the base model."""
    names = (*_ALWAYS, _NEW, _OLD, _SAVE, _OLD_SAVE, _GRAPH)
    told = {name: found for name in names if (found := comfy.node(name)) is not None}
    loader = _OLD if _OLD in told and _NEW not in told else _NEW
    saver = _OLD_SAVE if _OLD_SAVE in told and _SAVE not in told else _SAVE
    missing = [name for name in (*_ALWAYS, loader, saver) if name not in told]
    if missing:
        hint = "Update ComfyUI: its training nodes came in 2025 and are part of it (comfy_extras)."
        raise NodeError(f"{comfy.host}: the server has no {', '.join(missing)}, so it cannot train.", hint=hint)
    checkpoint = known_file(
        comfy,
        backend.checkpoint or spec.base_model.rsplit("/", 1)[-1],
        choices_of(inputs_of(told["CheckpointLoaderSimple"]).get("ckpt_name")),
        "checkpoint",
        "Write backend.checkpoint with one of its files",
    )
    return Nodes(told, loader, saver, checkpoint)


def training_workflow(nodes: Nodes, spec: LoraTraining, *, folder: str, prefix: str, steps: int, seed: int) -> Workflow:
    """folder: of the images, in the server's input folder. prefix: of the weights, in its output folder."""
    found: dict[str, dict[str, Any]] = {
        "base": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": nodes.checkpoint}},
        "data": {"class_type": nodes.loader, "inputs": _loader_inputs(nodes, folder)},
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
    found["save"] = {"class_type": nodes.saver, "inputs": {"lora": [TRAINER, lora], "prefix": prefix}}
    # The server's graph divides by the losses' spread, which one loss has none of.
    if _GRAPH in nodes.told and "LOSS_MAP" in outputs and steps * spec.gradient_accumulation > 1:
        graph = {"loss": [TRAINER, outputs.index("LOSS_MAP")], "filename_prefix": "specrun_loss"}
        found[GRAPH] = {"class_type": _GRAPH, "inputs": graph}
    return found


def _loader_inputs(nodes: Nodes, folder: str) -> dict[str, Any]:
    if nodes.loader == _NEW:
        return {"folder": folder}
    wanted = {"folder": folder, "clip": ["base", 1], "resize_method": "None", "width": -1, "height": -1}
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
