"""The loss of records: their latents, noise, captions, and what the denoiser says to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from specrun.training.lora.encoding import LatentCache, LatentEncoder, TextCache
from specrun.training.lora.families import Condition, Family, Parts, Text
from specrun.training.lora.noise import Noising, generator, loss_of
from specrun.training.lora.pictures import Picture, Pixels, prepare
from specrun.training.lora.records import Record, changed_caption
from specrun.training.lora.settings import LoraTraining

VALIDATION_TIMESTEPS = 4
Numbers = tuple[int, ...]
"""What decides all that is random about one image in one step, so that it does not matter which images go through the
denoiser together."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """latents, texts: None where nothing is cached. run_denoiser: the denoiser, perhaps compiled. cast: a context for
    mixed precision."""

    spec: LoraTraining
    seed: int
    pixels: Pixels
    family: Family
    parts: Parts
    noising: Noising
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

    def of(self, records: Sequence[Record], numbers: Sequence[Numbers]) -> torch.Tensor:
        """(n,) the loss of each record of one bucket, with random changes."""
        sources = [generator(self.seed, *each) for each in numbers]
        orders = [random.Random(source.initial_seed()) for source in sources]
        pictures, moments = self._moments(records, orders)
        drawn = [self._drawn(one[None], source) for one, source in zip(moments, sources, strict=True)]
        captions = [
            changed_caption(record.caption, self.spec, order) for record, order in zip(records, orders, strict=True)
        ]
        latents, noise, timesteps = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        return self._loss_at(self.run_denoiser, records, pictures, captions, (latents, noise, timesteps))

    def fixed(self, record: Record, numbers: Numbers, place: int) -> torch.Tensor:
        """(1,) without changes, at one of VALIDATION_TIMESTEPS places from picture to noise."""
        pictures, moments = self._moments([record], None)
        latents, noise, drawn = self._drawn(moments, generator(self.seed, *numbers))
        at = (2 * place + 1) * self.noising.timesteps // (2 * VALIDATION_TIMESTEPS)
        # Not compiled: buckets of validation images would each be compiled for a few pictures.
        return self._loss_at(
            self.parts.denoiser, [record], pictures, [record.caption], (latents, noise, torch.full_like(drawn, at))
        )

    def _drawn(self, moments: torch.Tensor, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents, noise and timesteps; on the CPU."""
        latents = self.encoder.drawn(moments, source)
        return latents, *self.noising.draw(latents.shape, source)

    def _moments(
        self, records: Sequence[Record], orders: Sequence[random.Random] | None
    ) -> tuple[list[Picture], torch.Tensor]:
        """Pictures are read only where something else than their latents is asked of them. orders: of changes."""
        cache = self.latents
        pictures: list[Picture] = []
        if cache is None or self.spec.masked_loss is not None:
            changes = orders if cache is None and orders is not None else [None] * len(records)
            pictures = [
                prepare(record, self.spec, self.pixels, order) for record, order in zip(records, changes, strict=True)
            ]
        if cache is not None:
            return pictures, torch.stack([cache.load(record) for record in records])
        pixels = torch.stack([picture.pixels for picture in pictures])
        return pictures, self.encoder.moments(pixels, [record.name for record in records])

    def _loss_at(
        self,
        denoiser: Any,
        records: Sequence[Record],
        pictures: Sequence[Picture],
        captions: Sequence[str],
        drawn: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        latents, noise, timesteps = (value.to(self.device) for value in drawn)
        noisy = self.noising.noisy(latents, noise, timesteps)
        target = self.noising.target(latents, noise, timesteps)
        text = self.text_of(captions)
        sizes = torch.tensor(self._sizes(records, pictures), device=self.device)
        condition = Condition(sizes, self.spec.embedded_guidance)
        with self.cast():
            predicted = self.family.predict(denoiser, noisy.to(self.dtype), timesteps, text, condition)
        masks = [picture.mask for picture in pictures if picture.mask is not None]
        mask = torch.stack(masks).to(self.device) if masks else None
        return loss_of(self.noising, predicted, target, timesteps, mask)

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
