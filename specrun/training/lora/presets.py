"""Presets: named values for the keys of a LoRA job. What is written beside a preset wins."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from specrun.training.lora.base import FamilyName

PRESET_FAMILIES: Mapping[str, FamilyName] = MappingProxyType({"sd15": "sd", "sdxl": "sdxl", "flux": "flux"})
"""Presets that are made for one family."""
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "efficient": {
            "rank": 8,
            "alpha": 8,
            "batch": 1,
            "gradient_accumulation": 4,
            "gradient_checkpointing": True,
            "cache_latents": True,
            "optimizer": "adamw8bit",
            "resolution": [768, 768],
        },
        "quality": {
            "rank": 32,
            "alpha": 16,
            "target_modules": "all",
            "learning_rate": 5.0e-5,
            "gradient_accumulation": 4,
            "min_snr_gamma": 5.0,
            "ema": 0.999,
            "optimizer": "adamw",
            "epochs": 20,
        },
        "fast": {
            "rank": 8,
            "alpha": 8,
            "learning_rate": 3.0e-4,
            "gradient_accumulation": 1,
            "gradient_checkpointing": False,
            "warmup_steps": 20,
            "max_steps": 500,
            "resolution": [512, 512],
        },
        "sd15": {
            "resolution": [512, 512],
            "rank": 16,
            "alpha": 16,
            "learning_rate": 1.0e-4,
            "batch": 4,
            "gradient_accumulation": 1,
            "gradient_checkpointing": False,
        },
        "sdxl": {
            "resolution": [1024, 1024],
            "rank": 16,
            "alpha": 16,
            "learning_rate": 1.0e-4,
            "batch": 1,
            "gradient_accumulation": 4,
            "gradient_checkpointing": True,
            "min_snr_gamma": 5.0,
        },
        "flux": {
            "resolution": [1024, 1024],
            "rank": 16,
            "alpha": 16,
            "learning_rate": 1.0e-4,
            "batch": 1,
            "gradient_accumulation": 4,
            "gradient_checkpointing": True,
            "mixed_precision": "bf16",
        },
    }
)
