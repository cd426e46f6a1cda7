"""What a denoiser is asked for: the noise or the velocity, on a schedule that ends in noise alone or not.

A base model's scheduler says it; checkpoints that say it wrongly, or single files that say nothing, are told by the
spec. Training, its sample pictures and generations ask in the same way. Light: no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WITH_ZERO_SNR = ("ddim", "dpm++_2m", "euler", "euler_a", "unipc")
"""Schedulers of generations whose first step can be noise alone."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """kind: epsilon or v_prediction (of FLUX: flow). zero_snr: the last timestep is noise alone."""

    kind: str
    zero_snr: bool

    def settings(self) -> dict[str, Any]:
        """Of a scheduler of diffusers. With zero_snr its steps must begin at the last timestep of all."""
        begins = {"timestep_spacing": "trailing"} if self.zero_snr else {}
        return {"prediction_type": self.kind, "rescale_betas_zero_snr": self.zero_snr, **begins}


def prediction_of(config: Mapping[str, Any], kind: str | None = None, zero_snr: bool | None = None) -> Prediction:
    """config: of the base model's scheduler, which decides what is None."""
    own = bool(config.get("rescale_betas_zero_snr", False))
    return Prediction(kind or str(config.get("prediction_type", "epsilon")), own if zero_snr is None else zero_snr)
