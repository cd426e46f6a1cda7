"""What predicts: a model that turns images into labels, whichever library trained it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from specrun.errors import FormatError
from specrun.model.labels import AnyLabel, Sample
from specrun.model.work import Context, Made

MODEL_NAME = "model.json"

ReadImage = Callable[[Path], NDArray[np.uint8]]
"""Reads an image as (height, width, 3) uint8, blue first, upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSettings:
    """threshold: least confidence. min_area: square pixels. device: `cpu`, or the index of a visible GPU."""

    threshold: float
    min_area: float
    batch: int
    device: str


class Predictor(Protocol):
    classes: tuple[str, ...]

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        """Labels in pixels of the upright image, with scores, most certain first. The order of the samples may
        differ from the one given."""
        ...


def open_predictor(model: Made, settings: PredictionSettings, read: ReadImage, ctx: Context) -> Predictor:
    """read: as the images of the exports were read that the model was trained on.

    Raises FormatError: the model is of no known kind, or its folder is damaged.
    """
    described = read_model(model.folder)
    match described["kind"]:
        case "ultralytics":
            # Prepares and imports torch and ultralytics.
            from specrun.training.ultralytics.predictor import UltralyticsPredictor

            return UltralyticsPredictor(model.artifact("best"), described, settings, read, ctx)
        case kind:
            raise FormatError(f"{model.address}: a model of kind {kind} cannot predict.")


def read_model(folder: Path) -> dict[str, Any]:
    """`model.json`; raises FormatError."""
    try:
        described: dict[str, Any] = json.loads((folder / MODEL_NAME).read_text(encoding="utf-8"))
        described["kind"]
    except (OSError, ValueError, KeyError) as error:
        message = f"{folder / MODEL_NAME}: does not describe a model ({error})."
        raise FormatError(message, hint="Make the model anew with --replace.") from error
    return described
