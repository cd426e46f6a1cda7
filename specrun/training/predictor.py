"""What predicts: a model that turns images into labels, whichever library trained it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from specrun.errors import FormatError
from specrun.model.labels import AnyLabel, Sample
from specrun.training.tiles import ReadWindow, Tiling

MODEL_NAME = "model.json"
DEFAULT_NMS_IOU = 0.7

ReadImage = Callable[[Path], NDArray[np.uint8]]
"""Reads an image as (height, width, 3) uint8, blue first, upright."""
OpenImage = Callable[[Path], AbstractContextManager[tuple[tuple[int, int], ReadWindow]]]
"""The size (width, height) of an image that is open, and what reads windows of it in the same way."""


@dataclass(frozen=True, slots=True)
class PointLayout:
    """points: names in the order in which labels have them. flip_pairs: those that change places in a mirror."""

    points: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...] = ()

    def mirrored(self) -> tuple[int, ...]:
        """Index by index, the point that stands there once the image is mirrored."""
        other = dict(self.flip_pairs) | {right: left for left, right in self.flip_pairs}
        return tuple(self.points.index(other.get(name, name)) for name in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSettings:
    """threshold: least confidence; None: for models of pixels alone, as training.semantic says. min_area: square
    pixels. device: `cpu`, or the index of a visible GPU.

    precision: auto | fp32 | fp16 | bf16. tile: None: whole images. tta: names of training.tta.
    max_count: labels an image, the most certain ones. nms_iou: None: the model's own suppression.
    points: how keypoints are named and ordered; None: as the model has them.
    open_image: for tiles; None: images are read whole.
    """

    threshold: float | None
    min_area: float
    batch: int
    device: str
    precision: str = "auto"
    tile: Tiling | None = None
    tta: tuple[str, ...] = ()
    max_count: int | None = None
    nms_iou: float | None = None
    class_wise: bool = True
    points: PointLayout | None = None
    open_image: OpenImage | None = None

    @property
    def ahead(self) -> int:
        """Batches to decode while the model works."""
        return 0 if self.device == "cpu" else 2

    @property
    def half(self) -> str | None:
        """fp16, bf16, or None for single precision. Half of it is slow on a CPU, where `auto` avoids it."""
        if self.precision == "auto":
            return None if self.device == "cpu" else "fp16"
        return None if self.precision == "fp32" else self.precision


class Predictor(Protocol):
    """What it holds of the machine is let go with it."""

    classes: tuple[str, ...]

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        """Labels in pixels of the upright image, with scores, most certain first. The order of the samples may
        differ from the one given."""
        ...


def read_model(folder: Path) -> dict[str, Any]:
    """`model.json`; raises FormatError."""
    try:
        described: dict[str, Any] = json.loads((folder / MODEL_NAME).read_text(encoding="utf-8"))
        described["kind"]
    except (OSError, ValueError, KeyError) as error:
        message = f"{folder / MODEL_NAME}: does not describe a model ({error})."
        raise FormatError(message, hint="Make the model anew with --replace.") from error
    return described


def check_size(sample: Sample, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels. Raises FormatError: they are not as many as the dataset says."""
    refuse_other_size(sample, (pixels.shape[1], pixels.shape[0]))
    return pixels


def refuse_other_size(sample: Sample, size_wh: tuple[int, int]) -> None:
    """Raises FormatError: the image is not as large as the dataset says."""
    if size_wh != sample.size_wh:
        raise FormatError(
            f"{sample.media}: is {size_wh[0]}x{size_wh[1]} pixels, but the dataset says {sample.size_wh}.",
            hint="The file changed since it was imported: apply the source again.",
        )


def names_of(described: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in described["classes"])
