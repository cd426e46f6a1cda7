"""Settings that exclude each other, each with the reason. Light: asked at validation time."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator

from specrun.spec.kind import Problem
from specrun.training.lora.base import FAMILY_TITLES, FamilyName
from specrun.training.lora.settings import SAMPLE_STEP, LoraTraining


def rule_problems(spec: LoraTraining) -> Iterator[Problem]:
    yield from _cache_problems(spec)
    yield from _optimizer_problems(spec)
    yield from _network_problems(spec)
    if spec.uncaptioned == "trigger" and spec.trigger is None:
        yield Problem(
            "uncaptioned",
            "There is no trigger to learn images with.",
            "Add trigger: with the word to learn, or write uncaptioned: skip.",
        )
    if gpu_count(spec) > 1 and spec.fused_backward:
        message = "A fused backward pass takes its steps before the GPUs could add up their gradients."
        yield Problem("fused_backward", message, "Write fused_backward: false, or gpus: 1.")
    if spec.on_oom == "halve" and spec.fused_backward:
        message = "A fused backward pass takes its steps at once, so a batch cannot be halved."
        yield Problem("on_oom", message, "Write on_oom: fail, or fused_backward: false.")
    if not spec.bucketing and any(side % 8 for side in spec.resolution):
        yield Problem("resolution", "Sides must be multiples of 8: the VAE makes one latent of 8x8 pixels.")
    if spec.bucketing and min(spec.resolution) < spec.bucket_step:
        yield Problem("bucket_step", f"{spec.bucket_step} is more than a side of the resolution.")
    elif spec.bucketing and (rounded := _rounded(spec.resolution, spec.bucket_step)) != spec.resolution:
        message = f"Sides are multiples of bucket_step: {spec.bucket_step}, so it becomes {list(rounded)}."
        yield Problem(
            "resolution", message, f"Write resolution: {list(rounded)}, or a smaller bucket_step.", warning=True
        )
    if spec.samples is not None and spec.samples.size is not None:
        rounded = _rounded(spec.samples.size, SAMPLE_STEP)
        if rounded != spec.samples.size:
            message = f"Sides of sample pictures are multiples of {SAMPLE_STEP}, so it becomes {list(rounded)}."
            yield Problem("samples.size", message, f"Write size: {list(rounded)}.", warning=True)


def _rounded(size_wh: tuple[int, int], step: int) -> tuple[int, int]:
    return size_wh[0] // step * step, size_wh[1] // step * step


def gpu_count(spec: LoraTraining) -> int:
    """How many the spec asks for; a training on the CPU is one process all the same."""
    gpus = spec.resources.gpus
    count = gpus if isinstance(gpus, int) else max((gpus or {}).values(), default=1)
    return max(1, count)


def _cache_problems(spec: LoraTraining) -> Iterator[Problem]:
    if spec.cache_latents:
        for name in ("random_flip", "random_crop", "color_jitter"):
            if getattr(spec, name):
                message = f"cache_latents puts each picture through the VAE once, so {name} would have no effect."
                yield Problem(name, message, f"Write cache_latents: false, or remove {name}.")
    if spec.cache_text_embeddings:
        for name in ("caption_shuffle", "caption_dropout", "train_text_encoder"):
            if getattr(spec, name):
                message = f"cache_text_embeddings puts each caption through the text encoder once, so {name} cannot be."
                yield Problem(name, message, f"Write cache_text_embeddings: false, or remove {name}.")
    if spec.text_encoder_learning_rate is not None and not spec.train_text_encoder:
        message = "Nothing is learnt in the text encoders."
        yield Problem("text_encoder_learning_rate", message, "Write train_text_encoder: true, or remove it.")


def _optimizer_problems(spec: LoraTraining) -> Iterator[Problem]:
    if spec.optimizer == "adamw8bit" and not installed("bitsandbytes"):
        message = "adamw8bit needs bitsandbytes, which is not installed."
        yield Problem(
            "optimizer", message, "Install the extra (pip install 'specrun[lora]'), or write optimizer: adamw."
        )
    if spec.optimizer == "prodigy":
        if not installed("prodigyopt"):
            message = "prodigy needs prodigyopt, which is not installed."
            yield Problem(
                "optimizer", message, "Install the extra (pip install 'specrun[lora]'), or write optimizer: adamw."
            )
        if spec.learning_rate < 0.1:
            message = f"prodigy finds the rate itself and takes 1.0; {spec.learning_rate:g} would learn nothing."
            yield Problem("learning_rate", message, "Write learning_rate: 1.0.", warning=True)
    if spec.fused_backward:
        if spec.optimizer != "adafactor":
            yield Problem("fused_backward", "fused_backward is of adafactor alone.", "Write optimizer: adafactor.")
        if spec.gradient_accumulation > 1:
            message = "A fused backward pass keeps no gradients, so there is nothing to accumulate."
            yield Problem("gradient_accumulation", message, "Write gradient_accumulation: 1.")
        if spec.max_grad_norm is not None:
            message = "A fused backward pass keeps no gradients, so their length is not known."
            yield Problem("max_grad_norm", message, "Write max_grad_norm: null.")
        if spec.mixed_precision == "fp16":
            message = "A fused backward pass takes gradients before they are scaled back from fp16."
            yield Problem("mixed_precision", message, "Write mixed_precision: bf16.")


def _network_problems(spec: LoraTraining) -> Iterator[Problem]:
    if spec.network == "lokr" and spec.rslora:
        yield Problem("rslora", "lokr has no rsLoRA.", "Remove rslora.")
    if isinstance(spec.target_modules, list) and not spec.target_modules:
        yield Problem("target_modules", "No module is named, so nothing would be learnt.")
    if spec.max_steps is not None and spec.warmup_steps >= spec.max_steps:
        message = f"The learning rate would grow for all of the {spec.max_steps} steps."
        yield Problem("warmup_steps", message, "Write fewer warmup_steps.", warning=True)


def family_problems(spec: LoraTraining, family: FamilyName) -> Iterator[Problem]:
    """Settings that mean nothing to a base model of the family."""
    title = FAMILY_TITLES[family]
    usual = LoraTraining.model_fields
    for name, reason in (_NOT_FOR_FLUX if family == "flux" else _ONLY_FOR_FLUX).items():
        if getattr(spec, name) != usual[name].default:
            default = json.dumps(usual[name].default)
            yield Problem(name, f"{title}: {reason}.", f"Write {name}: {default}.")
    if family != "flux":
        return
    if spec.network == "locon":
        yield Problem("network", f"{title} has no convolutions to learn in.", "Write network: lora.")
    if spec.network == "dora" and spec.target_modules != "all":
        message = (
            f"{title}: kohya's format joins layers, and a direction's length is known only where all of them learn."
        )
        yield Problem("target_modules", message, "Write target_modules: all, or network: lora.")
    if spec.bucketing and spec.bucket_step % 16:
        yield Problem("bucket_step", f"{title} takes sides that are multiples of 16.", "Write bucket_step: 64.")
    if not spec.bucketing and any(side % 16 for side in spec.resolution):
        yield Problem("resolution", f"{title} takes sides that are multiples of 16.")


_NOT_FOR_FLUX = {
    "clip_skip": "its text encoders are taken whole",
    "min_snr_gamma": "it has no signal-to-noise ratio to weigh by (timestep_weighting does that)",
    "noise_offset": "its way to the noise begins at the picture itself",
    "prediction": "it predicts the flow and nothing else",
    "zero_terminal_snr": "its last timestep is noise alone by construction",
}
_ONLY_FOR_FLUX = {
    "timestep_weighting": "timesteps are weighed by min_snr_gamma",
    "embedded_guidance": "the denoiser is told of no guidance",
}


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
