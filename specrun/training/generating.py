"""Pictures from a base model with LoRA weights, by the pipelines of diffusers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from specrun.errors import FormatError
from specrun.spec.suggest import listed
from specrun.training.looks import Look
from specrun.training.lora.base import Base, lora_pairs
from specrun.training.lora.families.parts import load_pipeline
from specrun.training.lora.prediction import WITH_ZERO_SNR, Prediction, prediction_of

SCHEDULERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++_2m": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """One LoRA: its file, and how much of it is added. written: of one made elsewhere, as the spec names it."""

    name: str
    file: Path
    weight: float
    written: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture. picture: upright RGB of the size that is wanted, or None to begin with noise."""

    prompt: str
    seed: int
    picture: Image.Image | None


class Pipeline:
    """A base model with its LoRAs, for words alone or for pictures."""

    def __init__(
        self, base: Base, loras: Sequence[Weights], look: Look, *, device: str, dtype: torch.dtype, changes: bool
    ) -> None:
        self.look, self.device, self.family = look, device, base.family
        self._pipe = load_pipeline(_class(base.family, changes), base, dtype, **_options(base))
        self.prediction = _set_scheduler(self._pipe, look, base)
        self._add(loras)
        self._pipe.to(device)
        self._pipe.set_progress_bar_config(disable=True)
        if _vae_overflows(self._pipe, dtype):
            self._pipe.vae.to(torch.float32)

    def paint(self, asked: Sequence[Asked], step: Callable[[], None]) -> list[Image.Image | None]:
        """None: not a number came out. step: called after each denoising step; what it raises ends the work."""

        def told(pipe: Any, number: int, moment: Any, values: dict[str, Any]) -> dict[str, Any]:
            step()
            return values

        given: dict[str, Any] = {
            "prompt": [one.prompt for one in asked],
            "negative_prompt": [self.look.negative] * len(asked),
            "num_inference_steps": self.look.steps,
            "guidance_scale": self.look.guidance,
            # On the CPU, so that a seed gives the same noise whatever the machine and the batch.
            "generator": [torch.Generator("cpu").manual_seed(one.seed) for one in asked],
            "output_type": "np",
            "callback_on_step_end": told,
        }
        pictures = [one.picture for one in asked if one.picture is not None]
        if pictures:
            given |= {"image": pictures, "strength": self.look.strength}
            if self.family == "flux":  # it would make them the base model's own size
                given |= {"width": pictures[0].width, "height": pictures[0].height}
        elif self.look.size_wh is not None:
            given |= {"width": self.look.size_wh[0], "height": self.look.size_wh[1]}
        with torch.inference_mode(), _quiet_casts():
            made: NDArray[np.float32] = self._pipe(**given).images
        return [_picture(values) for values in made]

    def _add(self, loras: Sequence[Weights]) -> None:
        """Raises FormatError: keys of a file match nothing in the base model, which diffusers says nothing of."""
        for one in loras:
            before, told = _lora_layers(self._pipe), one.written or one.name
            try:
                self._pipe.load_lora_weights(str(one.file.parent), weight_name=one.file.name, adapter_name=one.name)
            except (ValueError, RuntimeError, KeyError, AssertionError) as error:  # diffusers asserts FLUX's widths
                reason = " ".join(str(error).split())[:200]
                hint = "Use the base model that it was trained on."
                raise FormatError(f"lora {told} does not fit the base model: {reason}", hint=hint) from None
            wanted, found = lora_pairs(one.file, told), _lora_layers(self._pipe) - before
            # Of FLUX, kohya's format joins what is apart here.
            if found < wanted or (found > wanted and not one.written):
                message = f"lora {told}: {found} of its {wanted} layers are in the base model."
                raise FormatError(message, hint="Use the base model that it was trained on.")
        if loras:
            self._pipe.set_adapters([one.name for one in loras], [one.weight for one in loras])


def _class(family: str, changes: bool) -> Any:
    import diffusers

    names = {"sd": "StableDiffusion", "sdxl": "StableDiffusionXL", "flux": "Flux"}
    return getattr(diffusers, f"{names[family]}{'Img2Img' if changes else ''}Pipeline")


def _options(base: Base) -> dict[str, Any]:
    if base.family == "sdxl":
        return {"add_watermarker": False}
    if base.family == "flux":
        return {}
    return {} if base.single_file else {"safety_checker": None, "requires_safety_checker": False}


def _set_scheduler(pipe: Any, look: Look, base: Base) -> Prediction:
    """What the pipeline then asks for. Raises FormatError: FLUX has only its own."""
    import diffusers

    own = prediction_of(pipe.scheduler.config)
    if base.family == "flux":
        if look.scheduler != "auto":
            raise FormatError(f"scheduler: {look.scheduler} is not for FLUX.", hint="Write scheduler: auto.")
        return own
    kind, zero_snr = base.marked
    asked = prediction_of(
        pipe.scheduler.config, look.prediction or kind, zero_snr if look.zero_snr is None else look.zero_snr
    )
    changed = asked.settings() if asked != own else {}
    name = look.scheduler
    if name == "auto" and changed and asked.zero_snr and not _knows_zero_snr(type(pipe.scheduler)):
        name = "ddim"  # as the sample pictures of a training
    kind, settings = SCHEDULERS.get(name, (type(pipe.scheduler).__name__, {}))
    chosen = getattr(diffusers, kind)
    if asked.zero_snr and not _knows_zero_snr(chosen):
        message = f"scheduler: {name} cannot begin with noise alone, which the base model was trained to do."
        raise FormatError(message, hint=f"Write scheduler: auto, or {listed(sorted(WITH_ZERO_SNR))}.")
    if changed or name != "auto":
        pipe.scheduler = chosen.from_config(pipe.scheduler.config, **{**settings, **changed})
    return asked


def _knows_zero_snr(scheduler: Any) -> bool:
    return "rescale_betas_zero_snr" in inspect.signature(scheduler.__init__).parameters


def _vae_overflows(pipe: Any, dtype: torch.dtype) -> bool:
    return (
        dtype == torch.float16 and bool(getattr(pipe.vae.config, "force_upcast", False)) and "XL" in type(pipe).__name__
    )


def _lora_layers(pipe: Any) -> int:
    parts = [getattr(pipe, name, None) for name in ("unet", "transformer", "text_encoder", "text_encoder_2")]
    return sum("lora_A." in name for part in parts if part is not None for name, _ in part.named_parameters())


@contextmanager
def _quiet_casts() -> Any:
    """diffusers turns what is not a number into 0 with a warning of numpy's; it is looked for here instead."""
    with np.errstate(invalid="ignore"):
        yield


def _picture(values: NDArray[np.float32]) -> Image.Image | None:
    """values: (h, w, 3) in [0, 1]."""
    if not np.isfinite(values).all():
        return None
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
