"""From what the spec says to what the trainer needs: classes, activation, normalisation, weights of classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.errors import FormatError, NodeError
from specrun.training.smp.data import IGNORED, Export, Frames, Reader
from specrun.training.smp.description import Activation, ModelDescription
from specrun.training.smp.settings import Mode, SmpTrainSpec, StatisticsOf

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LEAST_STD = 1e-3
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def activation_of(mode: Mode, export: Export, log: Callable[[str], None]) -> Activation:
    """auto: one class before a background is a yes or no; else the classes exclude each other."""
    if mode == "binary" and len(export.classes) != 1:
        raise NodeError(
            f"mode: binary, but {export.folder} has {len(export.classes)} classes: {', '.join(export.classes)}.",
            hint="Write mode: multiclass, or merge them in the taxonomy.",
        )
    if len(export.names) == 1:
        log(f"there is only {export.names[0]} and no background: the model has nothing to tell it from")
        return "sigmoid"
    if mode in ("multilabel", "binary") or (mode == "auto" and len(export.classes) == 1):
        return "sigmoid"
    return "softmax"


def normalization(
    wanted: str | StatisticsOf, export: Export, encoder: str, encoder_weights: str | bool | None, read: Reader
) -> Statistics:
    """Mean and standard deviation of RGB values in [0, 1]."""
    if isinstance(wanted, StatisticsOf):
        return wanted.mean, wanted.std
    if wanted == "imagenet":
        return IMAGENET
    if wanted == "none":
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if wanted == "encoder":
        return _encoder_statistics(encoder, encoder_weights)
    said = export.statistics
    if said is None or said.get("split") != "train":
        said = _measured(export, read)
    return tuple(said["mean"]), tuple(max(float(value), _LEAST_STD) for value in said["std"])


def _measured(export: Export, read: Reader) -> dict[str, Any]:
    """Exact, over every pixel of the training images."""
    counts = np.zeros((3, 256), dtype=np.int64)
    for item in export.splits["train"]:
        image = read(item.image)
        for channel in range(3):
            counts[channel] += np.bincount(image[:, :, channel].reshape(-1), minlength=256)
    share = counts / counts[0].sum()
    values = np.arange(256) / 255
    mean = share @ values
    return {"mean": mean.tolist(), "std": np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1)).tolist()}


def _encoder_statistics(encoder: str, encoder_weights: str | bool | None) -> Statistics:
    import segmentation_models_pytorch as smp  # heavy

    name = encoder_weights if isinstance(encoder_weights, str) and "/" not in encoder_weights else "imagenet"
    try:
        found = smp.encoders.get_preprocessing_params(encoder, pretrained=name)
    except Exception as error:  # no network, or weights that the library does not know
        raise NodeError(
            f"train.normalize: encoder: what {encoder} was trained with is not known here: "
            f"{(str(error).splitlines() or [''])[0]}",
            hint="Write normalize: imagenet, or the numbers: {mean: [...], std: [...]}.",
        ) from error
    return tuple(found["mean"]), tuple(found["std"])


def class_weights(
    wanted: str | Sequence[float] | Mapping[str, float] | None,
    described: ModelDescription,
    pixels: NDArray[np.int64] | None,
) -> tuple[float, ...] | None:
    """In the order of the channels, with mean 1. Raises NodeError: they name or count other classes."""
    if wanted is None:
        return None
    names = described.names
    if wanted == "auto":
        assert pixels is not None
        share = pixels[: len(names)] / max(1, int(pixels[: len(names)].sum()))
        by_name = {name: 1 / math.sqrt(share[value]) for value, name in enumerate(names) if share[value] > 0}
        mean = sum(by_name.values()) / max(1, len(by_name))
        by_name = {name: value / mean for name, value in by_name.items()}
    elif isinstance(wanted, Mapping):
        by_name = dict(wanted)
        if unknown := [name for name in by_name if name not in names]:
            raise NodeError(
                f"train.class_weights: there is no class {', '.join(unknown)}.", hint=f"There are {', '.join(names)}."
            )
    else:
        assert not isinstance(wanted, str)
        if len(wanted) != len(names):
            raise NodeError(
                f"train.class_weights: {len(wanted)} numbers for {len(names)} classes.",
                hint=f"In this order: {', '.join(names)}.",
            )
        by_name = dict(zip(names, wanted, strict=True))
    return tuple(by_name.get(name, 1.0) for name in described.channels)


def require_classes(pixels: NDArray[np.int64], export: Export) -> None:
    """Raises FormatError: the training split shows nothing that could be learnt."""
    if any(pixels[value] for value in range(len(export.names)) if value != export.background):
        return
    what = "no pixel of the split train has a class" if pixels[:IGNORED].any() else "every pixel of train is ignored"
    raise FormatError(
        f"{export.folder}: {what}, so there is nothing to learn.",
        hint="Look at the label field and the classes of the dataset and of the export.",
    )


def say_absent(pixels: Mapping[str, NDArray[np.int64]], export: Export) -> tuple[str, ...]:
    """Sentences on classes that a split never shows; their score cannot be told, or cannot be learnt."""
    said = []
    for split, counts in pixels.items():
        absent = [name for value, name in enumerate(export.names) if not counts[value] and value != export.background]
        if absent:
            said.append(f"{', '.join(absent)} never {'occurs' if len(absent) == 1 else 'occur'} in the split {split}")
        if not counts[:IGNORED].sum():
            said.append(f"every pixel of the split {split} is ignored")
    return tuple(said)


def frames_of(export: Export, split: str, described: ModelDescription, read: Reader) -> Frames | None:
    items = export.splits[split]
    if not items:
        return None
    return Frames(items, export, read, described.image_size, described.fit, described.stride)


def wanted_size(train: SmpTrainSpec, stride: int, log: Callable[[str], None]) -> tuple[int, int]:
    """Raised to the next multiple of what the network divides its input by."""
    height, width = (-(-side // stride) * stride for side in train.image_size)
    if (height, width) != train.image_size:
        log(f"train.image_size: {list(train.image_size)} → {[height, width]}: multiples of {stride}")
    return height, width


def local_weights(encoder_weights: str | bool | None, project_dir: Path) -> Path | None:
    """A file that `encoder_weights` names. Raises NodeError: it looks like one and is not there."""
    if not isinstance(encoder_weights, str):
        return None
    path = project_dir / encoder_weights
    if path.is_file():
        return path
    if "/" in encoder_weights or Path(encoder_weights).suffix in (".safetensors", ".pt", ".pth", ".bin", ".ckpt"):
        raise NodeError(
            f"encoder_weights: {encoder_weights}: there is no such file.", hint="Paths are relative to the spec."
        )
    return None
