"""FLUX.1: a transformer on tokens of 2x2 latent pixels, flow matching, CLIP for the whole sentence and T5 for words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from specrun.errors import FormatError
from specrun.training.lora.base import Base, FamilyName
from specrun.training.lora.families.parts import Condition, Parts, Text, TextPart, load_pipeline, token_ids
from specrun.training.lora.flow import make_flow
from specrun.training.lora.noise import Noising
from specrun.training.lora.settings import LoraTraining

_LATENT_PIXELS = 8


class Flux:
    """Only CLIP learns with train_text_encoder, as in diffusers' example: loaders know no LoRA of T5."""

    name: FamilyName = "flux"
    guides_twice = False
    guidance = 3.5

    def load(self, base: Base, dtype: torch.dtype) -> Parts:
        from diffusers import FluxPipeline

        pipe = load_pipeline(FluxPipeline, base, dtype)
        whole = TextPart("text_encoder", pipe.tokenizer, pipe.text_encoder)
        words = TextPart("text_encoder_2", pipe.tokenizer_2, pipe.text_encoder_2, learns=False)
        if any(part is None for part in (pipe.transformer, pipe.vae, whole.encoder, words.encoder)):
            raise FormatError(f"base_model: {base.written} lacks a part.", hint="Give the whole model.")
        return Parts("transformer", pipe.transformer, pipe.vae, (whole, words), pipe.scheduler)

    def encode(self, parts: Parts, captions: Sequence[str], clip_skip: int) -> Text:
        """clip_skip: there are no layers that FLUX could do without; rules refuse it."""
        whole, words = parts.text
        pooled = whole.encoder(token_ids(whole, captions)).pooler_output
        return {"hidden": words.encoder(token_ids(words, captions))[0], "pooled": pooled}

    def predict(
        self, denoiser: nn.Module, noisy: torch.Tensor, timesteps: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        from diffusers import FluxPipeline

        count, channels, height, width = noisy.shape
        told = None
        if denoiser.config.guidance_embeds:
            told = torch.full((count,), condition.guidance, device=noisy.device)
        found = denoiser(
            hidden_states=FluxPipeline._pack_latents(noisy, count, channels, height, width),
            timestep=timesteps / 1000,
            guidance=told,
            pooled_projections=text["pooled"].to(noisy.dtype),
            encoder_hidden_states=text["hidden"].to(noisy.dtype),
            txt_ids=torch.zeros(text["hidden"].shape[1], 3, device=noisy.device, dtype=noisy.dtype),
            img_ids=FluxPipeline._prepare_latent_image_ids(count, height // 2, width // 2, noisy.device, noisy.dtype),
            return_dict=False,
        )[0]
        pixels = (height * _LATENT_PIXELS, width * _LATENT_PIXELS)
        unpacked: torch.Tensor = FluxPipeline._unpack_latents(found, *pixels, _LATENT_PIXELS)
        return unpacked

    def noising(self, parts: Parts, spec: LoraTraining) -> Noising:
        return make_flow(parts.scheduler, spec)
