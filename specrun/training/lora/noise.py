"""Diffusion: noise, timesteps, what is to be predicted, and how much each timestep counts.

Source of the weights: "Efficient Diffusion Training via Min-SNR Weighting Strategy" (2023); of the rescaled
schedule: "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from specrun.errors import NodeError
from specrun.training.lora.prediction import Prediction, prediction_of
from specrun.training.lora.settings import LoraTraining


def generator(*numbers: int) -> torch.Generator:
    """A generator that the numbers decide; always on the CPU, so that a GPU changes nothing about the noise."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 0x9E37_79B9) & 0x7FFF_FFFF_FFFF_FFFF
    return torch.Generator().manual_seed(seed)


class Noising(Protocol):
    """How pictures become noise, and what the denoiser is asked for. Timesteps: (n,), high ones are noisy."""

    @property
    def prediction(self) -> Prediction: ...

    @property
    def timesteps(self) -> int:
        """How many there are."""
        ...

    def draw(self, shape: torch.Size, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise of that shape (n, c, h, w) and a timestep for each; on the CPU, noise in float32."""
        ...

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor: ...

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor: ...

    def weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        """(n,) how much each timestep counts."""
        ...

    def for_pictures(self, steps: int, latents: torch.Tensor) -> Any:
        """A scheduler whose `timesteps` lead from noise to a picture. latents: what it begins with."""
        ...


def loss_of(
    noising: Noising,
    predicted: torch.Tensor,
    target: torch.Tensor,
    timesteps: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """(n,) float32. mask: (n, 1, h, w), the weight of each latent pixel."""
    squares = (predicted.float() - target.float()) ** 2
    if mask is None:
        each = squares.mean(dim=(1, 2, 3))
    else:
        counted = mask.sum(dim=(1, 2, 3)) * squares.shape[1]
        each = (squares * mask).sum(dim=(1, 2, 3)) / counted.clamp(min=1e-6)
    return each * noising.weights(timesteps)


@dataclass(frozen=True)
class Diffusion:
    """scheduler: a DDPMScheduler."""

    scheduler: Any
    prediction: Prediction
    min_snr_gamma: float | None
    noise_offset: float

    @property
    def timesteps(self) -> int:
        return int(self.scheduler.config.num_train_timesteps)

    def draw(self, shape: torch.Size, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randn(shape, generator=source)
        if self.noise_offset:
            noise += self.noise_offset * torch.randn((shape[0], shape[1], 1, 1), generator=source)
        return noise, torch.randint(0, self.timesteps, (shape[0],), generator=source)

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.scheduler.add_noise(latents, noise, timesteps)
        return found

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        if self.prediction.kind == "epsilon":
            return noise
        found: torch.Tensor = self.scheduler.get_velocity(latents, noise, timesteps)
        return found

    def weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        if self.min_snr_gamma is None:
            return torch.ones_like(timesteps, dtype=torch.float32)
        kept = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
        snr = kept / (1 - kept)
        least = snr.clamp(max=self.min_snr_gamma)
        return least / (snr + 1) if self.prediction.kind == "v_prediction" else least / snr

    def for_pictures(self, steps: int, latents: torch.Tensor) -> Any:
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config(self.scheduler.config, clip_sample=False, timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        return scheduler


def make_diffusion(
    base_scheduler: Any, spec: LoraTraining, kind: str | None = None, zero_snr: bool | None = None
) -> Diffusion:
    """kind, zero_snr: what the base model's file says, above its scheduler and below the spec.

    Raises NodeError: the base predicts what cannot be trained.
    """
    from diffusers import DDPMScheduler

    config = dict(base_scheduler.config)
    if spec.prediction != "auto":
        kind = spec.prediction
    if spec.zero_terminal_snr is not None:
        zero_snr = spec.zero_terminal_snr
    found = prediction_of(config, kind, zero_snr)
    if found.kind not in ("epsilon", "v_prediction"):
        raise NodeError(f"the base model predicts {found.kind}, which cannot be trained.", hint="Write prediction.")
    if found.zero_snr and found.kind == "epsilon":
        raise NodeError(
            "zero_terminal_snr: the last timestep holds no picture, so its noise teaches nothing.",
            hint="Write prediction: v_prediction for a base that predicts it, or zero_terminal_snr: false.",
        )
    scheduler = DDPMScheduler.from_config(config, **found.settings())
    return Diffusion(scheduler, found, spec.min_snr_gamma, spec.noise_offset)
