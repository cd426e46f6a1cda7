"""Images as the VAE takes them, and which of their pixels count."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from specrun.model.labels import AnyLabel
from specrun.training.lora.records import Record
from specrun.training.lora.settings import LoraTraining

_LATENT_PIXELS = 8


@dataclass(frozen=True, slots=True)
class Pixels:
    """read: an image, upright, (h, w, 3) uint8 RGB; raises FormatError. covered: (h, w), inside any of some labels."""

    read: Callable[[Path], NDArray[np.uint8]]
    covered: Callable[[Sequence[AnyLabel], tuple[int, int]], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Picture:
    """pixels: (3, h, w) float32 in [-1, 1]. mask: (1, h/8, w/8) or None. sizes: original height and width, top and
    left of the crop in pixels of the resized image."""

    pixels: torch.Tensor
    mask: torch.Tensor | None
    sizes: tuple[int, int, int, int]


def prepare(record: Record, spec: LoraTraining, source: Pixels, order: random.Random | None) -> Picture:
    """order decides the random changes; None: none are made. Raises FormatError: it cannot be read."""
    image = Image.fromarray(source.read(record.media))
    image = image.resize(record.fit.resize_wh, Image.Resampling.LANCZOS)
    left, top = _place(record, spec, order)
    width, height = record.fit.size_wh
    image = image.crop((left, top, left + width, top + height))
    pixels = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
    mask = _mask(record, spec, source, (left, top)) if spec.masked_loss is not None else None
    if order is not None and spec.color_jitter:
        pixels = _jittered(pixels, spec.color_jitter, order)
    if order is not None and spec.random_flip and order.random() < 0.5:
        pixels = pixels[:, ::-1]
        mask = None if mask is None else mask.flip(-1)
    tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous()
    return Picture(tensor, mask, (record.size_wh[1], record.size_wh[0], top, left))


def _place(record: Record, spec: LoraTraining, order: random.Random | None) -> tuple[int, int]:
    spare = [record.fit.resize_wh[axis] - record.fit.size_wh[axis] for axis in (0, 1)]
    if order is not None and spec.random_crop:
        return order.randint(0, spare[0]), order.randint(0, spare[1])
    return spare[0] // 2, spare[1] // 2


def _jittered(pixels: NDArray[np.float32], amount: float, order: random.Random) -> NDArray[np.float32]:
    contrast = 1 + order.uniform(-amount, amount)
    brightness = order.uniform(-amount, amount)
    mean = float(pixels.mean())
    return np.asarray(np.clip((pixels - mean) * contrast + mean + brightness, -1, 1), dtype=np.float32)


def _mask(record: Record, spec: LoraTraining, source: Pixels, left_top: tuple[int, int]) -> torch.Tensor:
    assert spec.masked_loss is not None
    inside = source.covered(record.labels, record.size_wh)
    left, top = left_top
    width, height = record.fit.size_wh
    image = Image.fromarray(inside.astype(np.uint8) * 255).resize(record.fit.resize_wh, Image.Resampling.BOX)
    image = image.crop((left, top, left + width, top + height))
    small = image.resize((width // _LATENT_PIXELS, height // _LATENT_PIXELS), Image.Resampling.BOX)
    share = np.asarray(small, dtype=np.float32) / 255
    outside = spec.masked_loss.outside
    return torch.from_numpy(outside + (1 - outside) * share)[None]
