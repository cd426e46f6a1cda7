"""Nodes of the ComfyUI double: what they declare, how a workflow is checked, and what the picture of one shows.

Declarations and words of refusals as two real servers gave them: 0.3.64 of October 2025 and 0.28.0 of July 2026.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

_MODEL, _CLIP, _VAE, _LATENT, _IMAGE = ["MODEL", {}], ["CLIP", {}], ["VAE", {}], ["LATENT", {}], ["IMAGE", {}]
_STRING, _FLOAT = ["STRING", {"multiline": True}], ["FLOAT", {"default": 1.0, "min": -100.0, "max": 100.0}]
_CONDITIONING = ["CONDITIONING", {}]
OUTPUTS = ("PreviewImage", "SaveLoRA", "SaveLoRANode", "LossGraphNode")


def _int(default: int = 1) -> list[Any]:
    return ["INT", {"default": default, "min": 0, "max": 2**64 - 1}]


def _node(
    name: str, required: dict[str, Any], output: list[str], optional: dict[str, Any] | None = None
) -> dict[str, Any]:
    told = {"required": required, **({"optional": optional} if optional else {})}
    return {"input": told, "output": output, "name": name, "output_node": name in OUTPUTS}


def nodes_of(version: str) -> dict[str, Any]:
    """version: 0.28 or 0.3.64, whose trainer has fewer inputs, one output more, and other names beside it."""
    named = {**_picture_nodes(), **(_new_training() if version == "0.28" else _old_training())}
    return {name: _node(name, *told) for name, told in named.items()}


def _picture_nodes() -> dict[str, tuple[Any, ...]]:
    sampler = {
        "model": _MODEL,
        "seed": _int(0),
        "steps": _int(20),
        "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0}],
        "sampler_name": [["euler", "euler_ancestral", "heun", "lms", "dpmpp_2m", "ddim", "uni_pc"], {}],
        "scheduler": [["simple", "karras", "ddim_uniform", "normal"], {}],
        **dict.fromkeys(("positive", "negative"), _CONDITIONING),
        "latent_image": _LATENT,
        "denoise": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0}],
    }
    loader = {"model": _MODEL, "clip": _CLIP, "lora_name": [[], {}], "strength_model": _FLOAT, "strength_clip": _FLOAT}
    side = ["INT", {"default": 512, "min": 16, "max": 16384}]
    return {
        "CheckpointLoaderSimple": (
            {"ckpt_name": [["tiny.safetensors", "xl/base.safetensors"], {}]}, ["MODEL", "CLIP", "VAE"],
        ),
        "LoraLoader": (loader, ["MODEL", "CLIP"]),
        "ModelSamplingDiscrete": (
            {"model": _MODEL, "sampling": [["eps", "v_prediction", "x0"], {}], "zsnr": ["BOOLEAN", {}]}, ["MODEL"],
        ),
        "CLIPTextEncode": ({"text": _STRING, "clip": _CLIP}, ["CONDITIONING"]),
        "EmptyLatentImage": ({"width": side, "height": side, "batch_size": _int()}, ["LATENT"]),
        "LoadImage": ({"image": [[], {"image_upload": True}]}, ["IMAGE", "MASK"]),
        "KSampler": (sampler, ["LATENT"]),
        "VAEEncode": ({"pixels": _IMAGE, "vae": _VAE}, ["LATENT"]),
        "VAEDecode": ({"samples": _LATENT, "vae": _VAE}, ["IMAGE"]),
        "PreviewImage": ({"images": ["IMAGE"]}, []),
    }  # fmt: skip


def _training() -> dict[str, Any]:
    return {
        "model": _MODEL,
        "latents": _LATENT,
        "positive": _CONDITIONING,
        **dict.fromkeys(("batch_size", "grad_accumulation_steps", "steps", "rank", "seed"), _int()),
        "learning_rate": ["FLOAT", {"default": 0.0005}],
    }


def _new_training() -> dict[str, tuple[Any, ...]]:
    def combo(*options: str) -> list[Any]:
        return ["COMBO", {"options": list(options), "default": options[0]}]

    switches = ("gradient_checkpointing", "offloading", "quantized_backward", "bucket_mode", "bypass_mode")
    training = {
        **_training(),
        "optimizer": combo("AdamW", "Adam", "SGD", "RMSprop"),
        "loss_function": combo("MSE", "L1", "Huber", "SmoothL1"),
        "training_dtype": combo("bf16", "fp32", "none"),
        "lora_dtype": combo("bf16", "fp32"),
        "algorithm": combo("LoRA", "LoHa", "LoKr", "OFT"),
        "checkpoint_depth": _int(),
        "existing_lora": combo("[None]"),
        **{name: ["BOOLEAN", {"default": False}] for name in switches},
    }
    return {
        "LoadImageTextDataSetFromFolder": ({"folder": ["COMBO", {"options": []}]}, ["IMAGE", "STRING"]),
        "TrainLoraNode": (training, ["LORA_MODEL", "LOSS_MAP", "INT"]),
        "SaveLoRA": ({"lora": ["LORA_MODEL", {}], "prefix": _STRING}, [], {"steps": _int()}),
        "LossGraphNode": ({"loss": ["LOSS_MAP", {}], "filename_prefix": _STRING}, []),
    }


def _old_training() -> dict[str, tuple[Any, ...]]:
    training = {
        **_training(),
        "optimizer": [["AdamW", "Adam", "SGD", "RMSprop"], {"default": "AdamW"}],
        "loss_function": [["MSE", "L1", "Huber", "SmoothL1"], {"default": "MSE"}],
        "training_dtype": [["bf16", "fp32"], {"default": "bf16"}],
        "lora_dtype": [["bf16", "fp32"], {"default": "bf16"}],
        "algorithm": [["LoRA", "LoHa", "LoKr", "OFT"], {"default": "LoRA"}],
        "gradient_checkpointing": ["BOOLEAN", {"default": True}],
        "existing_lora": [["[None]"], {"default": "[None]"}],
    }
    loader = {"resize_method": [["None", "Stretch", "Crop", "Pad"], {"default": "None"}]}
    sides = {key: ["INT", {"default": -1, "min": -1, "max": 10000}] for key in ("width", "height")}
    return {
        "LoadImageTextSetFromFolderNode": (
            {"folder": [[], {}], "clip": _CLIP}, ["IMAGE", "CONDITIONING"], {**loader, **sides},
        ),
        "TrainLoraNode": (training, ["MODEL", "LORA_MODEL", "LOSS_MAP", "INT"]),
        "SaveLoRANode": ({"lora": ["LORA_MODEL", {}], "prefix": _STRING}, [], {"steps": _int()}),
        "LossGraphNode": ({"loss": ["LOSS_MAP", {"default": {}}], "filename_prefix": _STRING}, []),
    }  # fmt: skip


def refused(workflow: Any, nodes: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the server answers to a workflow that it does not take: looked through from its output nodes on."""
    if not workflow:
        return _whole("no_prompt", "No prompt provided", "No prompt provided")
    for name, node in workflow.items():
        if node["class_type"] not in nodes:
            message = f"Cannot execute because node {node['class_type']} does not exist."
            return _whole("invalid_prompt", message, f"Node ID '#{name}'")
    ends = [name for name, node in workflow.items() if nodes[node["class_type"]]["output_node"]]
    if not ends:
        return _whole("prompt_no_outputs", "Prompt has no outputs", "")
    wrong: dict[str, Any] = {}
    for name in _reached(workflow, ends):
        kind = workflow[name]["class_type"]
        if errors := list(_errors(workflow[name]["inputs"], nodes[kind])):
            wrong[name] = {"errors": errors, "dependent_outputs": ends, "class_type": kind}
    if not wrong:
        return None
    details = "; ".join(error["details"] for told in wrong.values() for error in told["errors"])
    message = "Prompt outputs failed validation"
    return {**_whole("prompt_outputs_failed_validation", message, details), "node_errors": wrong}


def _whole(kind: str, message: str, details: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "details": details, "extra_info": {}}, "node_errors": {}}


def _reached(workflow: Mapping[str, Any], ends: list[str]) -> list[str]:
    found: list[str] = []
    todo = list(ends)
    while todo:
        name = todo.pop()
        if name not in found:
            found.append(name)
            links = [one for one in workflow[name]["inputs"].values() if isinstance(one, list)]
            todo += [str(link[0]) for link in links]
    return found


def _errors(given: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, declared in (node["input"].get("required") or {}).items():
        extra = {"input_name": name}
        if name not in given:
            message = "Required input is missing"
            yield {"type": "required_input_missing", "message": message, "details": name, "extra_info": extra}
            continue
        more = declared[1] if len(declared) > 1 else {}
        options = declared[0] if isinstance(declared[0], list) else more.get("options")
        value = given[name]
        if options is not None and value not in options:
            details = f"{name}: '{value}' not in {options}"
            yield {"type": "value_not_in_list", "message": "Value not in list", "details": details, "extra_info": extra}


def picture_of(workflow: Mapping[str, Any], name: str, inputs: Mapping[tuple[str, str], bytes]) -> bytes:
    """PNG of the size that was asked for, of one colour: that of all that the node depends on.

    Raises OSError: it was made from a file that is no picture.
    """
    depends = _reached(workflow, [name])
    size, content = (8, 8), []
    for one in sorted(depends):
        node = workflow[one]
        if node["class_type"] == "EmptyLatentImage":
            size = (node["inputs"]["width"], node["inputs"]["height"])
        if node["class_type"] == "LoadImage":
            folder, _, file = node["inputs"]["image"].rpartition("/")
            content.append(hashlib.sha256(inputs[folder, file]).hexdigest())
            with Image.open(io.BytesIO(inputs[folder, file])) as picture:
                size = picture.size
        plain = {key: value for key, value in node["inputs"].items() if not isinstance(value, list)}
        if node["class_type"] != "LoadImage":
            content.append(json.dumps([node["class_type"], plain], sort_keys=True))
    colour = hashlib.sha256("".join(sorted(content)).encode()).digest()
    target = io.BytesIO()
    Image.new("RGB", size, (colour[0], colour[1], colour[2] | 0x80)).save(target, "PNG")
    return target.getvalue()
