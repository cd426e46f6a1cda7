"""LoRA weights made elsewhere, as files on this machine. Light: planning imports this module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from specrun.errors import SpecrunError
from specrun.model.digest import Json
from specrun.model.work import Look
from specrun.spec.kind import Problem, Strict
from specrun.training.lora.base import local_place, lora_pairs

Weight = Annotated[float, Field(ge=-4, le=4)]


class LocalLora(Strict):
    """LoRA weights that were made elsewhere."""

    file: str
    """A .safetensors file with the names of diffusers and PEFT, or of kohya's scripts; relative to the spec."""
    weight: Weight = 1.0
    """How much of it is added."""


def local_lora_problems(loras: Sequence[LocalLora], project: Path) -> Iterator[Problem]:
    for number, one in enumerate(loras):
        place, path = local_place(one.file, project), f"backend.loras.{number}.file"
        if not place.is_file():
            yield Problem(path, f"There is no file {one.file}.", "Paths are relative to the spec.")
            continue
        try:
            lora_pairs(place, one.file)
        except SpecrunError as error:
            yield Problem(path, error.message, error.hint)


def local_lora_digests(loras: Sequence[LocalLora], look: Look) -> dict[str, Json]:
    """What an observation keeps of the files. Blocking."""
    return {one.file: look.file_digest(local_place(one.file, look.project_dir)) for one in loras}
