"""The loss of records: their latents, noise, captions, and what the denoiser says to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from specrun.training.lora.encoding import LatentCache, LatentEncoder, TextCache
from specrun.training.lora.families import Family, Parts, Text
from specrun.training.lora.noise import Diffusion, generator
from specrun.training.lora.pictures import Picture, Pixels, prepare
from specrun.training.lora.records import Record, changed_caption
from specrun.training.lora.settings import LoraTraining

VALIDATION_TIMESTEPS = 4


@dataclass(frozen=True, kw_only=True)
class Losses:
    """latents, texts: None where nothing is cached. run_denoiser: the denoiser, perhaps compiled. cast: a context for
    mixed precision."""

    spec: LoraTraining
    seed: int
    pixels: Pixels
    family: Family
    parts: Parts
    diffusion: Diffusion
    encoder: LatentEncoder
    latents: LatentCache | None
    texts: TextCache | None
    run_denoiser: Any
    device: torch.device
    dtype: torch.dtype
    cast: Callable[[], Any]

    def text_of(self, captions: Sequence[str]) -> Text:
        if self.texts is not None:
            said = self.texts.load(captions)
        else:
            with torch.set_grad_enabled(self.spec.train_text_encoder and torch.is_grad_enabled()), self.cast():
                said = self.family.encode(self.parts, captions, self.spec.clip_skip)
        return {name: value.to(self.device) for name, value in said.items()}

    def of(self, records: Sequence[Record], numbers: tuple[int, ...], *, learning: bool) -> torch.Tensor:
        """(n,) the loss of each record. numbers: what decides noise, timesteps and changes. learning: with changes."""
        source = generator(self.seed, *numbers)
        order = random.Random(source.initial_seed()) if learning else None
        pictures, moments = self._moments(records, order)
        latents = self.encoder.drawn(moments, source)
        noise, timesteps = self.diffusion.draw(latents.shape, source)
        if not learning:
            timesteps = self._fixed_timesteps(numbers[-1]).expand(len(records))
        return self._loss_at(records, pictures, (latents, noise, timesteps), order)

    def _moments(self, records: Sequence[Record], order: random.Random | None) -> tuple[list[Picture], torch.Tensor]:
        """Pictures are read only where something else than their latents is asked of them."""
        cache = self.latents
        pictures: list[Picture] = []
        if cache is None or self.spec.masked_loss is not None:
            changes = order if cache is None else None
            pictures = [prepare(record, self.spec, self.pixels, changes) for record in records]
        if cache is not None:
            return pictures, torch.stack([cache.load(record) for record in records])
        pixels = torch.stack([picture.pixels for picture in pictures])
        return pictures, self.encoder.moments(pixels, [record.name for record in records])

    def _loss_at(
        self,
        records: Sequence[Record],
        pictures: Sequence[Picture],
        drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        order: random.Random | None,
    ) -> torch.Tensor:
        latents, noise, timesteps = (value.to(self.device) for value in drawn)
        noisy = self.diffusion.noisy(latents, noise, timesteps)
        target = self.diffusion.target(latents, noise, timesteps)
        captions = [record.caption for record in records]
        if order is not None:
            captions = [changed_caption(caption, self.spec, order) for caption in captions]
        text = self.text_of(captions)
        sizes = torch.tensor(self._sizes(records, pictures), device=self.device)
        with self.cast():
            denoiser = self.run_denoiser if order is not None else self.parts.denoiser
            predicted = self.family.predict(denoiser, noisy.to(self.dtype), timesteps, text, sizes)
        masks = [picture.mask for picture in pictures if picture.mask is not None]
        mask = torch.stack(masks).to(self.device) if masks else None
        return self.diffusion.loss(predicted, target, timesteps, mask)

    def _sizes(self, records: Sequence[Record], pictures: Sequence[Picture]) -> list[tuple[int, int, int, int]]:
        if pictures:
            return [picture.sizes for picture in pictures]
        return [
            (
                record.size_wh[1],
                record.size_wh[0],
                (record.fit.resize_wh[1] - record.fit.size_wh[1]) // 2,
                (record.fit.resize_wh[0] - record.fit.size_wh[0]) // 2,
            )
            for record in records
        ]

    def _fixed_timesteps(self, number: int) -> torch.Tensor:
        count = int(self.diffusion.scheduler.config.num_train_timesteps)
        return torch.tensor([(2 * number + 1) * count // (2 * VALIDATION_TIMESTEPS)])
