"""A finished job's folder: weights in two formats, lora.json, pictures, metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from specrun.training.lora import formats
from specrun.training.lora.base import FamilyName

DESCRIBED = "lora.json"
_PACKAGES = ("diffusers", "peft", "transformers", "torch", "safetensors")


def save_lora(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    described: Mapping[str, Any],
    *,
    scale: float,
    adapter_metadata: str | None,
    magnitudes: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """weights: with PEFT's names. described: what lora.json says. scale: what up @ down is multiplied by.

    magnitudes: of DoRA, as readers of kohya's format take them (see dora).
    """
    family: FamilyName = described["family"]
    versions = _versions()
    plain = formats.plain_metadata(described, versions)
    own = {"lora_adapter_metadata": adapter_metadata} if adapter_metadata else {}
    formats.save_weights(folder / formats.PEFT_NAME, weights, {**plain, **own})
    kohya = formats.to_kohya({**weights, **(magnitudes or {})}, family=family, scale=scale)
    formats.save_weights(folder / formats.KOHYA_NAME, kohya, formats.kohya_metadata(described, versions))
    content = {**described, "versions": versions}
    (folder / DESCRIBED).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in ("specrun", *_PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
