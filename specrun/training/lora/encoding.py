"""Pictures and captions as the network takes them; encoded once where that is allowed.

What is kept is keyed by content: the image's bytes, how it is cut, and the VAE's weights; the caption and the text
encoders' weights. So another job on the same images finds it, and no change is missed. Of a picture the VAE's mean
and deviation are kept, not a draw: cached and fresh pictures give the same gradients.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from specrun.errors import NodeError
from specrun.model.digest import json_digest
from specrun.training.lora.families import Family, Parts, Text
from specrun.training.lora.pictures import Picture
from specrun.training.lora.records import Record


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Of names, shapes and bytes."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        plain = value.detach().to("cpu").contiguous()
        found.update(f"{name} {tuple(plain.shape)} {plain.dtype}\n".encode())
        found.update(memoryview(plain.reshape(-1).view(torch.uint8).numpy()))
    return found.hexdigest()


class LatentEncoder:
    """The VAE. In half precision it may overflow, as SDXL's does: then it goes on in float32."""

    def __init__(self, vae: Any, dtype: torch.dtype, log: Callable[[str], None]) -> None:
        self.vae = vae
        self.log = log
        wide = dtype == torch.float32 or (dtype == torch.float16 and bool(getattr(vae.config, "force_upcast", False)))
        self.vae.to(dtype=torch.float32 if wide else dtype)
        self.vae.requires_grad_(False).eval()

    @torch.no_grad()
    def moments(self, pixels: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
        """(n, 2c, h, w) float32, mean and logarithm of the variance, on the CPU. Raises NodeError: not finite."""
        found = self._encode(pixels)
        if not torch.isfinite(found).all() and self.vae.dtype != torch.float32:
            self.log(f"the VAE overflows in {str(self.vae.dtype).removeprefix('torch.')}; it goes on in float32")
            self.vae.to(dtype=torch.float32)
            found = self._encode(pixels)
        if not torch.isfinite(found).all():
            bad = [name for name, one in zip(names, found, strict=True) if not torch.isfinite(one).all()]
            raise NodeError(
                f"{', '.join(bad)}: the VAE of the base model gives no numbers (NaN) even in float32.",
                hint="Look at the image, or give a base model with a whole VAE.",
            )
        return found.cpu()

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.vae.encode(pixels.to(self.vae.device, self.vae.dtype)).latent_dist.parameters
        return found.float()

    def drawn(self, moments: torch.Tensor, source: torch.Generator) -> torch.Tensor:
        """Latents drawn from the moments, scaled as the denoiser takes them; on the CPU, float32."""
        mean, log_variance = moments.float().chunk(2, dim=1)
        deviation = torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))
        latents = mean + deviation * torch.randn(mean.shape, generator=source)
        shift = getattr(self.vae.config, "shift_factor", None) or 0.0
        return (latents - shift) * float(self.vae.config.scaling_factor)


class LatentCache:
    """Moments of pictures in files of one picture each."""

    def __init__(self, folder: Path, vae_digest: str) -> None:
        self.folder = folder
        self.vae_digest = vae_digest

    def path(self, record: Record) -> Path:
        key = json_digest([record.digest, record.fit.size_wh, record.fit.resize_wh, self.vae_digest, 1])
        return self.folder / key[:2] / f"{key}.safetensors"

    def holds(self, record: Record) -> bool:
        return self.path(record).is_file()

    def load(self, record: Record) -> torch.Tensor:
        return load_file(self.path(record))["moments"]

    def save(self, record: Record, moments: torch.Tensor) -> None:
        _save({"moments": moments}, self.path(record))

    def fill(
        self,
        records: Sequence[Record],
        prepare: Callable[[Record], Picture],
        encoder: LatentEncoder,
        told: Callable[[int, int], None],
    ) -> None:
        """told: how many of how many are done; may raise to stop."""
        missing = [record for record in records if not self.holds(record)]
        for number, record in enumerate(missing):
            told(len(records) - len(missing) + number, len(records))
            picture = prepare(record)
            self.save(record, encoder.moments(picture.pixels[None], [record.name])[0])


class TextCache:
    """What the text encoders say, in files of one caption each."""

    def __init__(self, folder: Path, family: Family, parts: Parts, clip_skip: int) -> None:
        self.folder = folder
        self.family = family
        self.parts = parts
        self.clip_skip = clip_skip
        digests = [weights_digest(part.encoder.state_dict()) for part in parts.text]
        self.key = json_digest([digests, clip_skip, 1])

    def fill(self, captions: Sequence[str], told: Callable[[int, int], None]) -> None:
        for number, caption in enumerate(captions):
            told(number, len(captions))
            path = self.path(caption)
            if not path.is_file():
                with torch.no_grad():
                    said = self.family.encode(self.parts, [caption], self.clip_skip)
                _save({name: value[0] for name, value in said.items()}, path)

    def path(self, caption: str) -> Path:
        key = json_digest([caption, self.key])
        return self.folder / key[:2] / f"{key}.safetensors"

    def load(self, captions: Sequence[str]) -> Text:
        found = [load_file(self.path(caption)) for caption in captions]
        return {name: torch.stack([one[name] for one in found]) for name in found[0]}


def _save(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial)
    os.replace(partial, path)
