"""What a LoRA job is declared with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.kinds.lora_jobs.remote.backends import (
    ComfyBackend,
    ReplicateBackend,
)
from specrun.model.artifact import Artifact
from specrun.spec.kind import Strict
from specrun.training.lora.settings import LoraTraining


class DiffusersBackend(Strict):
    """Trained on this machine with diffusers."""

    kind: Literal["diffusers"] = "diffusers"
    """diffusers."""


class LoraJobSpec(LoraTraining):
    """LoRA weights on top of a base model."""

    backend: Annotated[DiffusersBackend | ComfyBackend | ReplicateBackend, Field(discriminator="kind")] = (
        DiffusersBackend()
    )
    """Where it is trained."""


def result_config(spec: LoraJobSpec) -> dict[str, Any]:
    """What decides the weights, as JSON: not what only changes the speed or what is told."""
    without = {*LoraTraining.__base__.model_fields, "backend", "save_every", "compile", "resume", "preset", "on_oom"}  # type: ignore[union-attr]
    return spec.model_dump(mode="json", exclude=without)


def artifacts(folder: Path) -> tuple[Artifact, ...]:
    """Of a finished job's folder."""
    found = [
        Artifact("lora", "checkpoint", "lora.safetensors"),
        Artifact("kohya", "checkpoint", "lora_kohya.safetensors"),
        Artifact("model", "file", "lora.json"),
        Artifact("metrics", "file", "metrics.csv"),
    ]
    if (folder / "samples").is_dir():
        found += [Artifact("samples", "folder", "samples")]
        found += [Artifact("contact_sheet", "file", "samples/contact_sheet.png")]
    return tuple(one for one in found if (folder / one.place).exists())
