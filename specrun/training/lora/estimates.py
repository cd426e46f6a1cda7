"""What a LoRA job needs, by rule: GPU memory and time. Light: planning imports this module.

The sizes are those of the published base models; what is kept for the backward pass and the seconds are rules of
thumb for a current GPU (about 150 TFLOPS in bf16), stated as such wherever they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from specrun.spec.suggest import listed
from specrun.training.lora.base import FamilyName
from specrun.training.lora.settings import LoraTraining

_MILLION = 1e6 / 2**20
_RESERVE_MIB = 900
"""CUDA itself, and what the allocator wastes."""
RULE = "rule of thumb for a current GPU"


@dataclass(frozen=True, slots=True)
class _Sizes:
    """In millions: weights of the denoiser, text encoders and VAE, and what each rank adds on attention.

    kept_mib: for the backward pass, a picture of side squared, with and without gradient checkpointing.
    seconds: of a picture of that side in a step."""

    denoiser: float
    text: float
    vae: float
    a_rank: float
    side: int
    kept_mib: int
    kept_checkpointed_mib: int
    seconds: float


_SIZES: Mapping[FamilyName, _Sizes] = {
    "sd": _Sizes(860, 123, 84, 0.2, 512, 3200, 700, 0.06),
    "sdxl": _Sizes(2567, 817, 84, 1.45, 1024, 12000, 2200, 0.35),
    "flux": _Sizes(11901, 4885, 84, 1.63, 1024, 30000, 4200, 1.6),
}
_MORE_LAYERS = {"attention": 1.0, "all": 2.4}
_OPTIMIZER_BYTES = {"adamw": 16, "adamw8bit": 10, "prodigy": 24, "adafactor": 9}
"""For each learnt weight, with itself and its gradient."""


def guess_family(base_model: str) -> FamilyName:
    """By name, where the base model has not been looked at."""
    if "flux" in base_model.lower():
        return "flux"
    return "sdxl" if "xl" in base_model.lower() else "sd"


def needed_mib(spec: LoraTraining, family: FamilyName) -> int:
    sizes = _SIZES[family]
    width = 4 if spec.mixed_precision == "no" else 2
    on_gpu = sizes.denoiser + (0 if spec.caches_text else sizes.text) + (0 if spec.cache_latents else 2 * sizes.vae)
    layers = _MORE_LAYERS.get(spec.target_modules, 1.5) if isinstance(spec.target_modules, str) else 1.5
    learnt = sizes.a_rank * spec.rank * layers * (1.6 if spec.network == "locon" else 1.0)
    kept = sizes.kept_checkpointed_mib if spec.gradient_checkpointing else sizes.kept_mib
    area = spec.resolution[0] * spec.resolution[1] / sizes.side**2
    total = on_gpu * width * _MILLION + learnt * _OPTIMIZER_BYTES[spec.optimizer] * _MILLION
    return round(total + kept * area * spec.batch * width / 2 + _RESERVE_MIB)


def needed_seconds(spec: LoraTraining, family: FamilyName, steps: int) -> float:
    sizes = _SIZES[family]
    area = spec.resolution[0] * spec.resolution[1] / sizes.side**2
    slower = (1.2 if spec.gradient_checkpointing else 1.0) * (1.0 if spec.cache_latents else 1.25)
    each = 2.0 if spec.prior_preservation is not None else 1.0
    images = steps * spec.batch * spec.gradient_accumulation
    return images * each * sizes.seconds * area * slower * (2 if spec.mixed_precision == "no" else 1)


def advice(spec: LoraTraining, family: FamilyName, fits_mib: float | None = None) -> str:
    """What to write so that less memory is needed; each change with what is then needed. fits_mib: stop there."""
    changes: list[tuple[str, dict[str, object]]] = []
    if not spec.gradient_checkpointing:
        changes.append(("gradient_checkpointing: true", {"gradient_checkpointing": True}))
    if spec.mixed_precision == "no":
        changes.append(("mixed_precision: bf16", {"mixed_precision": "bf16"}))
    if not spec.cache_latents:
        changes.append(("cache_latents: true", {"cache_latents": True}))
    if spec.batch > 1:
        more = spec.gradient_accumulation * spec.batch
        changes.append((f"batch: 1 with gradient_accumulation: {more}", {"batch": 1, "gradient_accumulation": more}))
    if min(spec.resolution) > 512:
        smaller = (spec.resolution[0] * 3 // 4 // 64 * 64, spec.resolution[1] * 3 // 4 // 64 * 64)
        changes.append((f"resolution: [{smaller[0]}, {smaller[1]}]", {"resolution": smaller}))
    if spec.rank > 8:
        changes.append((f"rank: {spec.rank // 2}", {"rank": spec.rank // 2}))
    if spec.optimizer == "adamw":
        changes.append(("optimizer: adamw8bit", {"optimizer": "adamw8bit"}))
    if not spec.caches_text:
        against = [name for name in ("train_text_encoder", "caption_shuffle", "caption_dropout") if getattr(spec, name)]
        without = f" without {listed(against, 'and')}" if against else ""
        off = {name: type(getattr(spec, name))(0) for name in against}
        changes.append((f"cache_text_embeddings: true{without}", {"cache_text_embeddings": True, **off}))
    said, now = [], spec
    for text, values in changes:
        now = now.model_copy(update=values)
        needed = needed_mib(now, family)
        said.append(f"{text} ({needed / 1024:.0f} GiB)")
        if fits_mib is not None and needed <= fits_mib:
            break
    found = f"Write {', then '.join(said)}." if said else "Use a GPU with more memory."
    if fits_mib is None and spec.batch > 1 and spec.on_oom == "fail":
        found += " Or write on_oom: halve, which goes on with fewer images at a time."
    return found
