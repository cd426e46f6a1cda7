"""Stable Diffusion XL: two text encoders, and sizes as a condition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from specrun.training.lora.base import Base, FamilyName
from specrun.training.lora.families.parts import Condition, Parts, Text, TextPart, load_pipeline, token_ids
from specrun.training.lora.families.sd import WithUNet

_LATENT_PIXELS = 8


class StableDiffusionXL(WithUNet):
    name: FamilyName = "sdxl"

    def load(self, base: Base, dtype: torch.dtype) -> Parts:
        from diffusers import StableDiffusionXLPipeline

        pipe = load_pipeline(StableDiffusionXLPipeline, base, dtype, add_watermarker=False)
        first = TextPart("text_encoder", pipe.tokenizer, pipe.text_encoder)
        second = TextPart("text_encoder_2", pipe.tokenizer_2, pipe.text_encoder_2)
        return Parts("unet", pipe.unet, pipe.vae, (first, second), pipe.scheduler, base.marked)

    def encode(self, parts: Parts, captions: Sequence[str], clip_skip: int) -> Text:
        """The last layer but one of both; what the second says of the whole sentence."""
        found = []
        pooled = None
        for part in parts.text:
            said = part.encoder(token_ids(part, captions), output_hidden_states=True)
            found.append(said.hidden_states[-(clip_skip + 2)])
            pooled = said[0]
        assert pooled is not None
        return {"hidden": torch.cat(found, dim=-1), "pooled": pooled}

    def predict(
        self, denoiser: nn.Module, noisy: torch.Tensor, timesteps: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        sizes = condition.sizes
        target = torch.tensor([side * _LATENT_PIXELS for side in noisy.shape[-2:]], device=sizes.device)
        added = {
            "text_embeds": text["pooled"],
            "time_ids": torch.cat([sizes, target.expand(len(sizes), 2)], dim=1).float(),
        }
        found: torch.Tensor = denoiser(
            noisy,
            timesteps,
            encoder_hidden_states=text["hidden"],
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return found
