"""`model.json` of a segmentation model: all that is needed to build it and to read its answers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from specrun.errors import FormatError

MODEL_NAME = "model.json"
BACKGROUND = "background"
Activation = Literal["softmax", "sigmoid"]
Fit = Literal["resize", "letterbox", "crop"]


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """classes: without the background, in label order. background: its place among all classes, None without one.

    activation: softmax over all classes, or sigmoid with one channel a class and none for the background.
    mean and std: of RGB values in [0, 1]. image_size: height and width that it was trained on. stride: height and
    width of an input must be multiples of it.
    """

    arch: str
    encoder: str
    classes: tuple[str, ...]
    background: int | None
    ignore_index: int
    activation: Activation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: tuple[int, int]
    stride: int
    fit: Fit = "resize"
    in_channels: int = 3
    arch_options: Mapping[str, Any] = field(default_factory=dict)
    task: str = "semantic"

    @property
    def names(self) -> tuple[str, ...]:
        """All classes in the order of pixel values, the background at its place."""
        names = list(self.classes)
        if self.background is not None:
            names.insert(self.background, BACKGROUND)
        return tuple(names)

    @property
    def channels(self) -> tuple[str, ...]:
        """What the channels of the network's output stand for."""
        return self.classes if self.activation == "sigmoid" else self.names

    def to_json(self) -> dict[str, Any]:
        return {"kind": "smp", **asdict(self), "channels": list(self.channels)}

    def save(self, folder: Path, **more: Any) -> None:
        path = folder / MODEL_NAME
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(self.to_json() | more, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)


def description_from_json(described: Mapping[str, Any], place: str) -> ModelDescription:
    """Raises FormatError: keys are missing."""
    try:
        return ModelDescription(
            arch=str(described["arch"]),
            encoder=str(described["encoder"]),
            classes=tuple(str(name) for name in described["classes"]),
            background=described["background"],
            ignore_index=int(described["ignore_index"]),
            activation=described["activation"],
            mean=tuple(described["mean"]),
            std=tuple(described["std"]),
            image_size=(int(described["image_size"][0]), int(described["image_size"][1])),
            stride=int(described["stride"]),
            fit=described.get("fit", "resize"),
            in_channels=int(described.get("in_channels", 3)),
            arch_options=dict(described.get("arch_options", {})),
            task=str(described.get("task", "semantic")),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(
            f"{place}: does not describe a segmentation model ({error!r}).", hint="Make the model anew with --replace."
        ) from error
