from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from specrun.errors import NodeError
from specrun.training.lora.loop import train
from specrun.training.lora.noise import Diffusion, loss_of, make_diffusion
from tests.support.lora_training import make_job, pictures, small_spec
from tests.support.tiny_diffusion import tiny_sd


def diffusion(spec: dict[str, Any], **scheduler: Any) -> Diffusion:
    from diffusers import DDPMScheduler

    return make_diffusion(DDPMScheduler(**scheduler), small_spec(Path("base"), **spec))


def test_the_base_says_what_it_predicts_and_the_spec_wins() -> None:
    assert diffusion({}).prediction.kind == "epsilon"
    assert diffusion({}, prediction_type="v_prediction").prediction.kind == "v_prediction"
    assert diffusion({"prediction": "v_prediction"}).prediction.kind == "v_prediction"


def test_velocity_is_what_leads_from_noise_to_the_picture() -> None:
    found = diffusion({"prediction": "v_prediction"})
    torch.manual_seed(0)
    latents, noise, timesteps = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    noisy, velocity = found.noisy(latents, noise, timesteps), found.target(latents, noise, timesteps)
    kept = found.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    torch.testing.assert_close(kept.sqrt() * noisy - (1 - kept).sqrt() * velocity, latents, atol=1e-5, rtol=0)


def test_min_snr_weighs_easy_timesteps_less() -> None:
    timesteps = torch.tensor([0, 200, 999])
    of_noise = diffusion({"min_snr_gamma": 5.0})
    kept = of_noise.scheduler.alphas_cumprod[timesteps]
    snr = kept / (1 - kept)
    torch.testing.assert_close(of_noise.weights(timesteps), snr.clamp(max=5) / snr)
    of_velocity = diffusion({"min_snr_gamma": 5.0, "prediction": "v_prediction"})
    torch.testing.assert_close(of_velocity.weights(timesteps), snr.clamp(max=5) / (snr + 1))
    assert diffusion({}).weights(timesteps).tolist() == [1, 1, 1]


def test_a_base_whose_last_step_is_noise_alone_has_finite_weights() -> None:
    found = diffusion({"min_snr_gamma": 5.0}, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    last = torch.tensor([999])
    assert float(found.scheduler.alphas_cumprod[999]) < 1e-6
    assert torch.isfinite(found.weights(last)).all()


def test_noise_cannot_be_learnt_where_nothing_else_is_left() -> None:
    with pytest.raises(NodeError, match="zero_terminal_snr"):
        diffusion({"zero_terminal_snr": True})


def test_only_pixels_of_the_mask_count() -> None:
    found = diffusion({})
    predicted, target = torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    predicted[..., 0, 0] = 2.0
    mask = torch.zeros(1, 1, 2, 2)
    mask[..., 0, :] = 1.0
    assert loss_of(found, predicted, target, torch.tensor([5]), mask).tolist() == [2.0]
    assert loss_of(found, predicted, target, torch.tensor([5])).tolist() == [1.0]


def test_offset_noise_shifts_whole_channels() -> None:
    plain, shifted = diffusion({}), diffusion({"noise_offset": 0.5})
    size = torch.Size((1, 4, 64, 64))
    means = [
        one.draw(size, torch.Generator().manual_seed(0))[0].mean(dim=(2, 3)).abs().max() for one in (plain, shifted)
    ]
    assert means[0] < 0.1 < means[1]


def test_a_velocity_base_with_no_signal_at_the_end_trains(tmp_path: Path) -> None:
    base = tiny_sd(tmp_path / "base", prediction_type="v_prediction", rescale_betas_zero_snr=True)
    spec = small_spec(base, max_steps=2, min_snr_gamma=5.0)
    assert train(*make_job(tmp_path, spec, pictures(tmp_path / "images"))).noising.prediction.kind == "v_prediction"
