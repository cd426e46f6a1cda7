"""Pictures that show what has been learnt, always from the same noise, and a sheet of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from specrun.training import contact_sheet
from specrun.training.contact_sheet import Cell, Row
from specrun.training.lora.encoding import LatentEncoder
from specrun.training.lora.families import Condition, Family, Text
from specrun.training.lora.noise import Noising, generator

SHEET = "contact_sheet.png"
_LATENT_PIXELS = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """One picture: what the text encoders say of its prompt and of what it should not show, each for one caption."""

    wanted: Text
    unwanted: Text
    size_wh: tuple[int, int]
    seed: int
    steps: int
    guidance: float


@dataclass(frozen=True)
class Painter:
    """Makes pictures with the parts that are being trained. cast: a context for mixed precision."""

    family: Family
    denoiser: Any
    encoder: LatentEncoder
    noising: Noising
    device: torch.device
    dtype: torch.dtype
    cast: Callable[[], Any]

    @torch.no_grad()
    def paint(self, wish: Wish, check_stop: Callable[[], None]) -> Image.Image:
        width, height = (side // _LATENT_PIXELS for side in wish.size_wh)
        channels = int(self.encoder.vae.config.latent_channels)
        latents = torch.randn((1, channels, height, width), generator=generator(wish.seed)).to(self.device)
        scheduler = self.noising.for_pictures(wish.steps, latents)
        for step in scheduler.timesteps:
            check_stop()
            predicted = self._predicted(wish, latents, step.to(self.device))
            latents = scheduler.step(predicted, step, latents).prev_sample
        return self._decoded(latents)

    def _predicted(self, wish: Wish, latents: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
        texts = [wish.unwanted, wish.wanted] if self.family.guides_twice else [wish.wanted]
        text = {name: torch.cat([one[name] for one in texts]).to(self.device) for name in wish.wanted}
        count = len(texts)
        sizes = torch.tensor([[wish.size_wh[1], wish.size_wh[0], 0, 0]] * count, device=self.device)
        with self.cast():
            said = self.family.predict(
                self.denoiser,
                latents.to(self.dtype).expand(count, -1, -1, -1),
                moment.expand(count),
                text,
                Condition(sizes, wish.guidance),
            ).float()
        if count == 1:
            return said
        without, with_prompt = said.chunk(2)
        return without + wish.guidance * (with_prompt - without)

    def _decoded(self, latents: torch.Tensor) -> Image.Image:
        vae = self.encoder.vae
        home = vae.device
        vae.to(self.device)
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        plain = latents / float(vae.config.scaling_factor) + shift
        pixels = vae.decode(plain.to(vae.dtype)).sample.float()
        if not torch.isfinite(pixels).all() and vae.dtype != torch.float32:
            vae.to(dtype=torch.float32)
            pixels = vae.decode(plain.float()).sample.float()
        vae.to(home)
        values = ((pixels[0].nan_to_num(0).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return Image.fromarray(values.permute(1, 2, 0).cpu().numpy())


def picture_name(step: int, number: int) -> str:
    return f"step_{step:06d}_{number:02d}.png"


def save_sheet(folder: Path, prompts: Sequence[str], *, last: int) -> Path:
    """A row for each step at which pictures were made, a column for each prompt. last: the training's last step."""
    found: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.glob("step_*_*.png")):
        _, at, place = path.stem.split("_")
        found.setdefault(int(at), {})[int(place)] = path
    rows = [
        Row([Cell(row.get(number), prompt) for number, prompt in enumerate(prompts)], _when(step, last))
        for step, row in sorted(found.items())
    ]
    contact_sheet.save_sheet(folder / SHEET, rows)
    return folder / SHEET


def _when(step: int, last: int) -> str:
    if step == 0:
        return "step 0, before training"
    return f"step {step:,}, trained" if step == last else f"step {step:,}"
