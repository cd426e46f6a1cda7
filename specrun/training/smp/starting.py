"""Weights that a training or a model begins with: of an earlier model, of a file, of another program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from specrun.errors import FormatError
from specrun.training.smp.checkpoints import BEST
from specrun.training.smp.description import MODEL_NAME, ModelDescription, description_from_json
from specrun.training.smp.model import State, load_state, without_prefix
from specrun.training.warm_start import Start


def warm_start(model: nn.Module, described: ModelDescription, start: Start, log: Callable[[str], None]) -> None:
    """Take over what fits: the body, and of the head the rows of classes that both models know.

    Raises FormatError: it is a model of another architecture.
    """
    before = _described(start.checkpoint.parent.parent)
    wanted = model.state_dict()
    found = without_prefix(load_state(start.checkpoint), wanted)
    head = [name for name in wanted if name.startswith("segmentation_head.")]
    body = [name for name in wanted if name not in head]
    fitting = {name: found[name] for name in body if name in found and found[name].shape == wanted[name].shape}
    if len(fitting) < len(body):
        old = f"{before.arch} with {before.encoder}" if before else "another model"
        raise FormatError(
            f"start_from: {start.where}: {len(fitting)} of {len(body)} tensors fit {described.arch} with "
            f"{described.encoder}; it is {old}.",
            hint="Use the same arch, encoder and arch_options.",
        )
    old_names = before.channels if before else described.channels
    places = {name: row for row, name in enumerate(old_names)}
    pairs = tuple((row, places[name]) for row, name in enumerate(described.channels) if name in places)
    if new := [name for name in described.channels if name not in places]:
        log(f"start_from: new classes begin from random weights: {', '.join(new)}")
    for name in head:
        fitting[name] = _head(wanted[name], found.get(name), pairs, len(described.channels), len(old_names))
    model.load_state_dict(fitting, strict=False)


def _head(
    new: torch.Tensor, old: torch.Tensor | None, pairs: tuple[tuple[int, int], ...], count: int, before: int
) -> torch.Tensor:
    """The last layer has one row a channel; what lies before it is taken whole where it fits."""
    if old is None or old.shape[1:] != new.shape[1:]:
        return new
    if new.ndim and new.shape[0] == count and old.shape[0] == before:
        mixed = new.clone()
        for row, other in pairs:
            mixed[row] = old[other]
        return mixed
    return old if old.shape == new.shape else new


def _described(folder: Path) -> ModelDescription | None:
    path = folder / MODEL_NAME
    if not path.is_file():
        return None
    return description_from_json(json.loads(path.read_text(encoding="utf-8")), str(path))


def given_state(place: Path) -> tuple[State, dict[str, Any]]:
    """Weights that exist already, with what their folder says of them.

    place: a weights file; a folder of ours; or a folder of SMP's `save_pretrained`, whose config.json names
    architecture and encoder. Raises FormatError.
    """
    if not place.is_dir():
        beside = place.parent.parent / MODEL_NAME
        said = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        return load_state(place), said if said.get("kind") == "smp" else {}
    if (place / MODEL_NAME).is_file():
        return load_state(place / BEST), json.loads((place / MODEL_NAME).read_text(encoding="utf-8"))
    weights = next(
        (place / name for name in ("model.safetensors", "pytorch_model.bin") if (place / name).is_file()), None
    )
    if weights is None or not (place / "config.json").is_file():
        raise FormatError(
            f"{place}: is neither a model of specrun nor a folder of save_pretrained.",
            hint="It needs model.safetensors and config.json.",
        )
    config: dict[str, Any] = json.loads((place / "config.json").read_text(encoding="utf-8"))
    said = {
        "arch": config.pop("_model_class", None),
        "encoder": config.pop("encoder_name", None),
        "in_channels": config.pop("in_channels", 3),
        "channel_count": config.pop("classes", None),
        "arch_options": {
            key: value for key, value in config.items() if key not in ("encoder_weights", "activation", "aux_params")
        },
    }
    return load_state(weights), {key: value for key, value in said.items() if value is not None}


def channel_count(state: State) -> int:
    """How many channels the head of some weights gives. Raises FormatError: they have no head."""
    for name in ("segmentation_head.0.bias", "segmentation_head.head.4.bias", "segmentation_head.0.weight"):
        for key, value in state.items():
            if key.endswith(name):
                return int(value.shape[0])
    raise FormatError("The weights hold no segmentation_head: they are of no segmentation-models-pytorch model.")
