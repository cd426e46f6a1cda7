"""The workflow that makes pictures at a ComfyUI server, of nodes that each server has.

One prompt holds several pictures, each with a sampler of its own: a batch of latents would share one seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specrun.clients.comfyui import Comfy, Workflow, choices_of, inputs_of, known_file
from specrun.errors import NodeError
from specrun.kinds.generations.spec import GenerationSpec
from specrun.kinds.generations.wishes import is_unusual
from specrun.training.looks import Look

_CHECKPOINT, _LORA, _TEXT, _SAMPLER = "CheckpointLoaderSimple", "LoraLoader", "CLIPTextEncode", "KSampler"
_PREDICTION = "ModelSamplingDiscrete"
_NODES = (_CHECKPOINT, _LORA, _TEXT, _SAMPLER, "EmptyLatentImage", "LoadImage", "VAEEncode", "VAEDecode")
_SHOW = "PreviewImage"
SAMPLERS: Mapping[str, tuple[str, str]] = {
    "auto": ("euler", "normal"),
    "ddim": ("ddim", "ddim_uniform"),
    "euler": ("euler", "normal"),
    "euler_a": ("euler_ancestral", "normal"),
    "dpm++_2m": ("dpmpp_2m", "karras"),
    "unipc": ("uni_pc", "normal"),
    "lms": ("lms", "normal"),
    "heun": ("heun", "normal"),
}
"""scheduler → the server's sampler and scheduler. auto: what its own editor begins with."""


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """Names as the server lists them. loras: file and weight of each."""

    checkpoint: str
    loras: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture of a prompt. picture: the file in the input folder that is changed, or None."""

    prompt: str
    seed: int
    size_wh: tuple[int, int]
    picture: str | None


def check_nodes(comfy: Comfy, scheduler: str, *, prediction: bool = False) -> None:
    """prediction: its kind is told. Raises NodeError: the server lacks a node, or has no such sampler."""
    told = {name: comfy.node(name) for name in (*_NODES, _SHOW, *([_PREDICTION] if prediction else []))}
    if missing := [name for name, node in told.items() if node is None]:
        hint = "Is that a ComfyUI server? All of these are part of it."
        raise NodeError(f"{comfy.host}: the server has no {', '.join(missing)}.", hint=hint)
    declared = inputs_of(told[_SAMPLER] or {"input": {}})
    for name, wanted in zip(("sampler_name", "scheduler"), SAMPLERS[scheduler], strict=True):
        if (known := choices_of(declared.get(name))) and wanted not in known:
            hint = f"It has {', '.join(known[:12])}. Write another scheduler, or update the server."
            raise NodeError(f"{comfy.host}: its KSampler knows no {wanted}.", hint=hint)


def find_checkpoint(comfy: Comfy, wanted: str) -> str:
    """As the server lists it. Raises NodeError."""
    known = _listed(comfy, _CHECKPOINT, "ckpt_name")
    return known_file(comfy, wanted, known, "checkpoint", "Write backend.checkpoint with one of its files")


def find_lora(comfy: Comfy, wanted: str) -> str:
    """As the server lists it. Raises NodeError."""
    remedy = "Put the file into its models/loras folder. It has"
    return known_file(comfy, wanted, listed_loras(comfy), "LoRA file", remedy)


def listed_loras(comfy: Comfy) -> list[str]:
    return _listed(comfy, _LORA, "lora_name")


def picture_workflow(files: ServerFiles, spec: GenerationSpec, look: Look, drawn: Sequence[Drawn]) -> Workflow:
    """Its nodes `show_<n>` give the pictures, in the order of drawn, and `sample_<n>` tell of their progress."""
    found: dict[str, dict[str, Any]] = {"base": _node(_CHECKPOINT, ckpt_name=files.checkpoint)}
    model, clip = ["base", 0], ["base", 1]
    for number, (name, weight) in enumerate(files.loras):
        found[f"lora_{number}"] = _node(
            _LORA, model=model, clip=clip, lora_name=name, strength_model=weight, strength_clip=weight
        )
        model, clip = [f"lora_{number}", 0], [f"lora_{number}", 1]
    # Bases that begin with noise alone predict velocity. Where nothing tells the kind, the server's checkpoint does.
    kind = look.prediction or ("v_prediction" if look.zero_snr else None)
    if is_unusual(spec, look) and kind is not None:
        sampling = "eps" if kind == "epsilon" else "v_prediction"
        found["prediction"] = _node(_PREDICTION, model=model, sampling=sampling, zsnr=bool(look.zero_snr))
        model = ["prediction", 0]
    found["negative"] = _node(_TEXT, text=look.negative, clip=clip)
    prompts = list(dict.fromkeys(one.prompt for one in drawn))
    for number, prompt in enumerate(prompts):
        found[f"prompt_{number}"] = _node(_TEXT, text=prompt, clip=clip)
    for number, one in enumerate(drawn):
        found |= _latent(number, one)
        steps = look.steps if one.picture is None else max(1, int(look.steps * look.strength))
        sampler, scheduler = SAMPLERS[spec.scheduler]
        found[sampler_of(number)] = _node(
            _SAMPLER,
            model=model,
            positive=[f"prompt_{prompts.index(one.prompt)}", 0],
            negative=["negative", 0],
            latent_image=[f"latent_{number}", 0],
            seed=one.seed,
            steps=steps,
            cfg=max(1.0, look.guidance),
            sampler_name=sampler,
            scheduler=scheduler,
            # The server makes `steps` of them within the last part of the noise, diffusers that part of the steps.
            denoise=1.0 if one.picture is None else look.strength,
        )
        found[f"decoded_{number}"] = _node("VAEDecode", samples=[sampler_of(number), 0], vae=["base", 2])
        # A preview lies in the server's temporary folder, so that nothing is left in its output folder.
        found[shower_of(number)] = _node(_SHOW, images=[f"decoded_{number}", 0])
    return found


def sampler_of(number: int) -> str:
    return f"sample_{number}"


def shower_of(number: int) -> str:
    return f"show_{number}"


def _latent(number: int, one: Drawn) -> dict[str, dict[str, Any]]:
    if one.picture is None:
        width, height = one.size_wh
        return {f"latent_{number}": _node("EmptyLatentImage", width=width, height=height, batch_size=1)}
    return {
        f"picture_{number}": _node("LoadImage", image=one.picture),
        f"latent_{number}": _node("VAEEncode", pixels=[f"picture_{number}", 0], vae=["base", 2]),
    }


def _listed(comfy: Comfy, node: str, name: str) -> list[str]:
    told = comfy.node(node)
    return [] if told is None else choices_of(inputs_of(told).get(name))


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}
