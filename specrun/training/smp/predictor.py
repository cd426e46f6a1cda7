"""Predicting with a segmentation model: probabilities of pixels, in the resolution of the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from specrun.errors import FormatError, OutOfMemory
from specrun.model.labels import AnyLabel, Sample
from specrun.model.work import Context
from specrun.training.oom import Batch, is_out_of_memory, out_of_memory
from specrun.training.predictor import PredictionSettings, ReadImage
from specrun.training.semantic import Channels, predict_semantic
from specrun.training.smp.data import fit_image, pad_to
from specrun.training.smp.description import ModelDescription, description_from_json
from specrun.training.smp.model import build_model, load_state, load_weights

_DECODERS = 4
_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


class SmpPredictor:
    """Implements training.predictor.Predictor."""

    def __init__(
        self, weights: Path, described: Mapping[str, Any], settings: PredictionSettings, read: ReadImage, ctx: Context
    ) -> None:
        torch.set_num_threads(max(1, ctx.cpus))
        self.described = description_from_json(described, str(weights.parent.parent))
        self.classes = self.described.classes
        if self.described.fit != "crop" and "scale" in settings.tta:
            raise FormatError(
                "tta: scale: this model was trained with images brought to one size, so it sees no scale.",
                hint="Remove scale from `tta`, or train with fit: crop.",
            )
        self._settings = settings
        self._read = read
        self._threads = min(_DECODERS, max(1, ctx.cpus))
        self._device = torch.device("cpu" if settings.device == "cpu" else f"cuda:{settings.device}")
        net = build_model(self.described)
        load_weights(net, load_state(weights), weights)
        self._layout = torch.contiguous_format if settings.device == "cpu" else torch.channels_last
        self._net = net.eval().to(self._device, memory_format=self._layout)
        self._mean, self._std = (
            torch.tensor(values, device=self._device).view(1, -1, 1, 1) * 255
            for values in (self.described.mean, self.described.std)
        )

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        channels = channels_of(self.described)
        try:
            yield from predict_semantic(
                samples, self.probabilities, channels, self._settings, self._read, threads=self._threads
            )
        except RuntimeError as error:
            if not is_out_of_memory(error) or isinstance(error, OutOfMemory):
                raise
            place = "the CPU" if self._settings.device == "cpu" else f"GPU {self._settings.device}"
            raise out_of_memory(
                place, Batch(self._settings.batch), setting="batch", others=["set tile: {size: [1024, 1024]}"]
            ) from error

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, h, w, 3) uint8, blue first → (n, classes, h, w) in [0, 1], the background included where the classes
        are exclusive."""
        size_hw = (images.shape[1], images.shape[2])
        ready, window = self._ready(images)
        with torch.inference_mode(), self._autocast():
            pixels = torch.from_numpy(ready).to(self._device, non_blocking=True).permute(0, 3, 1, 2).float()
            pixels = ((pixels - self._mean) / self._std).contiguous(memory_format=self._layout)
            logits = self._net(pixels).float()
        with torch.inference_mode():
            found = logits.softmax(1) if self.described.activation == "softmax" else logits.sigmoid()
            found = found[..., window[0], window[1]]
            if found.shape[-2:] != size_hw:
                found = torch.nn.functional.interpolate(found, size=size_hw, mode="bilinear", align_corners=False)
            if is_binary(self.described):
                both = [1 - found, found]
                found = torch.cat(both if self.described.background == 0 else both[::-1], dim=1)
            return np.asarray(found.cpu().numpy(), dtype=np.float32)

    def _ready(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
        """At a size that the network takes, red first, and where in it the image lies."""
        described = self.described
        ready, window = [], (slice(None), slice(None))
        for image in images:
            rgb = np.ascontiguousarray(image[:, :, ::-1])
            if described.fit == "crop":
                padded, _ = pad_to(rgb, None, (1, 1), described.stride)
                window = (slice(0, rgb.shape[0]), slice(0, rgb.shape[1]))
            else:
                padded, _, at = fit_image(rgb, None, described.image_size, described.fit)
                window = (slice(at.top, at.top + at.size_hw[0]), slice(at.left, at.left + at.size_hw[1]))
            ready.append(padded)
        return np.stack(ready), window

    def _autocast(self) -> torch.autocast:
        half = self._settings.half
        return torch.autocast(self._device.type, _TYPES.get(half or "", torch.bfloat16), enabled=half is not None)


def is_binary(described: ModelDescription) -> bool:
    """One channel that tells one class from the background."""
    return described.activation == "sigmoid" and len(described.classes) == 1 and described.background is not None


def channels_of(described: ModelDescription) -> Channels:
    exclusive = described.activation == "softmax" or is_binary(described)
    return Channels(described.classes, described.background if exclusive else None, exclusive)
