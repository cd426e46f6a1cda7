"""Flow matching: straight ways from pictures to noise, whose direction is what the denoiser says.

Source: "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis" (2024), and the functions of diffusers
that its examples train with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from specrun.training.lora.prediction import Prediction
from specrun.training.lora.settings import LoraTraining

_LOGIT_MEAN, _LOGIT_STD, _MODE_SCALE = 0.0, 1.0, 1.29
"""As diffusers' examples have them."""
_PATCH_PIXELS = 4
"""Latent pixels that FLUX takes as one token."""


@dataclass(frozen=True)
class FlowMatching:
    """scheduler: a FlowMatchEulerDiscreteScheduler as the base model has it. weighting: see timestep_weighting."""

    scheduler: Any
    weighting: str

    @property
    def prediction(self) -> Prediction:
        return Prediction("flow", zero_snr=False)

    @property
    def timesteps(self) -> int:
        return int(self.scheduler.config.num_train_timesteps)

    def draw(self, shape: torch.Size, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        from diffusers.training_utils import compute_density_for_timestep_sampling

        noise = torch.randn(shape, generator=source)
        density = compute_density_for_timestep_sampling(
            self.weighting, shape[0], _LOGIT_MEAN, _LOGIT_STD, _MODE_SCALE, generator=source
        )
        places = (density * self.timesteps).long().clamp(0, self.timesteps - 1)
        return noise, self.scheduler.timesteps[places]

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        sigmas = self._sigmas(timesteps).view(-1, 1, 1, 1)
        return (1.0 - sigmas) * latents + sigmas * noise

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return noise - latents

    def weights(self, timesteps: torch.Tensor) -> torch.Tensor:
        from diffusers.training_utils import compute_loss_weighting_for_sd3

        found: torch.Tensor = compute_loss_weighting_for_sd3(self.weighting, self._sigmas(timesteps))
        return found.float()

    def for_pictures(self, steps: int, latents: torch.Tensor) -> Any:
        """As the pipeline of FLUX: larger pictures stay longer with much noise, where the base says so."""
        from diffusers import FlowMatchEulerDiscreteScheduler
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)
        config = scheduler.config
        tokens = latents.shape[-1] * latents.shape[-2] // _PATCH_PIXELS
        shift = calculate_shift(
            tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
        )
        sigmas = torch.linspace(1.0, 1 / steps, steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, mu=shift)
        return scheduler

    def _sigmas(self, timesteps: torch.Tensor) -> torch.Tensor:
        """The share of noise, which is the timestep in other units."""
        return timesteps.float() / self.timesteps


def make_flow(base_scheduler: Any, spec: LoraTraining) -> FlowMatching:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatching(FlowMatchEulerDiscreteScheduler.from_config(base_scheduler.config), spec.timestep_weighting)
