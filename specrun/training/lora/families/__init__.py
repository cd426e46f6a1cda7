"""Base families: what differs between them when a LoRA is trained.

A family is one file with a class that satisfies `Family`; it is named in `base.PIPELINES` and in `family`.
"""

from __future__ import annotations

from typing import assert_never

from specrun.training.lora.base import FamilyName
from specrun.training.lora.families.parts import Condition, Family, Parts, Text, TextPart

__all__ = ["Condition", "Family", "Parts", "Text", "TextPart", "family"]


def family(name: FamilyName) -> Family:
    # Each brings its own pipeline with it.
    match name:
        case "sd":
            from specrun.training.lora.families.sd import StableDiffusion

            return StableDiffusion()
        case "sdxl":
            from specrun.training.lora.families.sdxl import StableDiffusionXL

            return StableDiffusionXL()
        case "flux":
            from specrun.training.lora.families.flux import Flux

            return Flux()
        case _:
            assert_never(name)
