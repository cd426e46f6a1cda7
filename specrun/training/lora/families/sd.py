"""Stable Diffusion 1.x and 2.x."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from specrun.training.lora.base import Base, FamilyName
from specrun.training.lora.families.parts import Condition, Parts, Text, TextPart, load_pipeline, token_ids
from specrun.training.lora.noise import Noising, make_diffusion
from specrun.training.lora.settings import LoraTraining


class WithUNet:
    """What the families with a UNet have in common."""

    guides_twice = True
    guidance = 7.0

    def noising(self, parts: Parts, spec: LoraTraining) -> Noising:
        return make_diffusion(parts.scheduler, spec, *parts.marked)


class StableDiffusion(WithUNet):
    name: FamilyName = "sd"

    def load(self, base: Base, dtype: torch.dtype) -> Parts:
        from diffusers import StableDiffusionPipeline

        options = {} if base.single_file else {"safety_checker": None, "requires_safety_checker": False}
        pipe = load_pipeline(StableDiffusionPipeline, base, dtype, **options)
        text = TextPart("text_encoder", pipe.tokenizer, pipe.text_encoder)
        return Parts("unet", pipe.unet, pipe.vae, (text,), pipe.scheduler, base.marked)

    def encode(self, parts: Parts, captions: Sequence[str], clip_skip: int) -> Text:
        (part,) = parts.text
        ids = token_ids(part, captions)
        if not clip_skip:
            return {"hidden": part.encoder(ids)[0]}
        layers = part.encoder(ids, output_hidden_states=True).hidden_states
        # Newer transformers have no text_model between.
        inner = getattr(part.encoder, "text_model", part.encoder)
        return {"hidden": inner.final_layer_norm(layers[-(clip_skip + 1)])}

    def predict(
        self, denoiser: nn.Module, noisy: torch.Tensor, timesteps: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        found: torch.Tensor = denoiser(noisy, timesteps, encoder_hidden_states=text["hidden"], return_dict=False)[0]
        return found
