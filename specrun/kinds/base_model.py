"""A base model as the plan looks at it: the content of what lies on this machine."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread

from specrun.model.digest import Json
from specrun.model.work import Look
from specrun.training.lora.base import is_local, local_place

_FILES = ("**/*.json", "**/*.safetensors", "**/*.txt", "**/*.bin")


async def base_observed(base_model: str | None, base_config: str | None, look: Look) -> dict[str, Json]:
    """Keys of an observation: `base_model`, and `base_config` where it is a folder."""
    if base_model is None or not is_local(base_model, look.project_dir):
        return {"base_model": base_model}
    places = {"base_model": local_place(base_model, look.project_dir)}
    if base_config is not None and is_local(base_config, look.project_dir):
        places["base_config"] = local_place(base_config, look.project_dir)
    return {key: await anyio.to_thread.run_sync(_digest, place, look) for key, place in places.items()}


def base_differences(now: dict[str, Json], look: Look, base_model: str | None) -> tuple[str, ...]:
    """What is told of another content under the same name."""
    before = look.record.observation if look.record else None
    known = before if isinstance(before, dict) else {}
    written = {"base_model": base_model, "base_config": "its configuration"}
    return tuple(
        f"{key}: {written[key]} changed" for key in now if key in written and key in known and known[key] != now[key]
    )


def _digest(place: Path, look: Look) -> Json:
    return look.listing(place, _FILES).digest if place.is_dir() else look.file_digest(place)
