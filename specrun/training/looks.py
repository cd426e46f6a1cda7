"""How pictures are asked for, and what is wrong with one, without any model."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class Look:
    """How pictures are made. size_wh: None: of the picture that is changed, or the base model's own.

    prediction, zero_snr: see training.lora.prediction; None: what the base model's scheduler says. step: sides are
    multiples of it."""

    negative: str
    steps: int
    guidance: float
    strength: float
    size_wh: tuple[int, int] | None
    scheduler: str
    prediction: str | None = None
    zero_snr: bool | None = None
    step: int = 8


def is_black(picture: Image.Image) -> bool:
    """Nothing in it is brighter than the last trace of black."""
    return max(high for _, high in picture.convert("RGB").getextrema()) <= 1  # type: ignore[misc, union-attr]
