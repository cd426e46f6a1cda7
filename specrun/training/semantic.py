"""Class probabilities of pixels as labels: one mask a class and image, the background left out.

Without a threshold a pixel has what the validation of a training counts: of exclusive classes (softmax, or one class
and the background) the most probable, the background among them, so that it may be none; of several at once (sigmoid)
each that is more likely than not. With one, a pixel has each class that reaches it, of exclusive ones the most probable
of these, however probable the background is. The score of a mask is the mean probability inside. Rows are reduced to
classes as soon as they are done, so that no image is held as probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import AnyLabel, Bitmap, Mask, Sample
from specrun.training.decoding import decoded_batches, opened
from specrun.training.predictor import PredictionSettings, ReadImage
from specrun.training.tiles import Probabilities, blended_bands
from specrun.training.tta import with_views

_HALF = 0.5
_SLAB_ROWS = 128
"""Painted at once: what a class is chosen by takes six times the memory of its rows."""
_CERTAIN = 65535
"""A probability of one, where those of all pixels are kept: only the islands that stay count for the score."""


@dataclass(frozen=True, slots=True)
class Channels:
    """What the channels of a model mean. classes: without the background, in the order of the channels.
    background: its channel, or None. exclusive: softmax; else each channel is a question of its own."""

    classes: tuple[str, ...]
    background: int | None
    exclusive: bool

    @property
    def of_classes(self) -> tuple[int, ...]:
        count = len(self.classes) + (self.background is not None)
        return tuple(channel for channel in range(count) if channel != self.background)


class Painting:
    """One image, painted from top to bottom. min_area: islands of a class below it are left out."""

    def __init__(
        self, channels: Channels, size_wh: tuple[int, int], threshold: float | None, min_area: float = 0
    ) -> None:
        self._channels = channels
        self._threshold = threshold
        self._min_area = min_area
        width, height = size_wh
        count = len(channels.classes)
        self._sums = np.zeros(count + 1)
        if channels.exclusive:
            kind = np.uint8 if count < 255 else np.uint16
            self._numbers = np.zeros((height, width), dtype=kind)
        else:
            self._layers = np.zeros((count, height, width), dtype=bool)
        planes = 1 if channels.exclusive else count
        self._certain = np.zeros((planes, height, width), dtype=np.uint16) if min_area > 1 else None

    def paint(self, top: int, probabilities: NDArray[np.float32]) -> None:
        """probabilities: (channels, rows, width) of the rows from `top` on."""
        paint = self._paint_best if self._channels.exclusive else self._paint_each
        for start in range(0, probabilities.shape[1], _SLAB_ROWS):
            paint(top + start, probabilities[:, start : start + _SLAB_ROWS])

    def labels(self) -> tuple[AnyLabel, ...]:
        """Most certain first."""
        found: list[AnyLabel] = []
        for number, name in enumerate(self._channels.classes):
            layer = self._numbers == number + 1 if self._channels.exclusive else self._layers[number]
            mask = _cut(layer, self._min_area)
            if mask is not None:
                bitmap, left, top = mask
                score = self._score(number, layer, mask)
                found.append(Mask(label=name, score=min(score, 1.0), bitmap=bitmap, left=left, top=top))
        return tuple(sorted(found, key=lambda label: -(label.score or 0.0)))

    def _score(self, number: int, layer: Bitmap, mask: tuple[Bitmap, int, int]) -> float:
        if self._certain is None:
            return float(self._sums[number + 1]) / max(int(np.count_nonzero(layer)), 1)
        bitmap, left, top = mask
        plane = self._certain[0 if self._channels.exclusive else number]
        window = plane[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
        return float(window[bitmap].mean(dtype=np.float64)) / _CERTAIN

    def _paint_best(self, top: int, probabilities: NDArray[np.float32]) -> None:
        number_of = np.zeros(probabilities.shape[0], dtype=self._numbers.dtype)
        of_classes = list(self._channels.of_classes)
        number_of[of_classes] = np.arange(1, len(of_classes) + 1)
        if self._threshold is not None:
            probabilities, number_of = probabilities[of_classes], number_of[of_classes]
        best = probabilities.argmax(axis=0)
        highest = np.take_along_axis(probabilities, best[None], axis=0)[0]
        numbers = number_of[best]
        if self._threshold is not None:
            numbers[highest < self._threshold] = 0
        self._numbers[top : top + len(numbers)] = numbers
        if self._certain is not None:
            self._certain[0, top : top + len(numbers)] = np.rint(highest * _CERTAIN)
        self._sums += np.bincount(numbers.ravel(), weights=highest.ravel(), minlength=len(self._sums))

    def _paint_each(self, top: int, probabilities: NDArray[np.float32]) -> None:
        least = _HALF if self._threshold is None else self._threshold
        for number, channel in enumerate(self._channels.of_classes):
            inside = probabilities[channel] >= least
            self._layers[number, top : top + len(inside)] = inside
            if self._certain is not None:
                self._certain[number, top : top + len(inside)] = np.rint(probabilities[channel] * _CERTAIN)
            self._sums[number + 1] += float(probabilities[channel][inside].sum(dtype=np.float64))


def predict_semantic(
    samples: Iterable[Sample],
    probabilities: Probabilities,
    channels: Channels,
    settings: PredictionSettings,
    read: ReadImage,
    *,
    threads: int = 1,
) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
    """Whole images in batches of one size, or tile by tile as the settings say.

    Raises FormatError: an image is of another size than the dataset says.
    """
    seen = with_views(probabilities, settings.tta)
    if settings.tile is not None:
        for sample in samples:
            yield sample, _tiled(sample, seen, channels, settings, read)
        return
    for members, images in decoded_batches(samples, settings.batch, read, threads, ahead=settings.ahead):
        found = seen(np.stack(images))
        for sample, planes in zip(members, found, strict=True):
            painting = Painting(channels, sample.size_wh, settings.threshold, settings.min_area)
            painting.paint(0, planes)
            yield sample, painting.labels()


def _tiled(
    sample: Sample, probabilities: Probabilities, channels: Channels, settings: PredictionSettings, read: ReadImage
) -> tuple[AnyLabel, ...]:
    assert settings.tile is not None
    painting = Painting(channels, sample.size_wh, settings.threshold, settings.min_area)
    with opened(sample, read, settings.open_image) as read_window:
        bands = blended_bands(read_window, sample.size_wh, settings.tile, probabilities, batch=settings.batch)
        for top, band in bands:
            painting.paint(top, band)
    return painting.labels()


def _cut(layer: Bitmap, min_area: float) -> tuple[Bitmap, int, int] | None:
    """The pixels of a class within the smallest rectangle, with its left and top."""
    rows, columns = np.flatnonzero(layer.any(axis=1)), np.flatnonzero(layer.any(axis=0))
    if not rows.size:
        return None
    left, top = int(columns[0]), int(rows[0])
    window = layer[top : rows[-1] + 1, left : columns[-1] + 1].copy()
    if min_area <= 1:
        return window, left, top
    inner = _cut(_without_islands(window, min_area), 0)
    return None if inner is None else (inner[0], inner[1] + left, inner[2] + top)


def _without_islands(layer: Bitmap, min_area: float) -> Bitmap:
    import cv2  # comes with the libraries that predict

    _, numbers, found, _ = cv2.connectedComponentsWithStats(layer.astype(np.uint8), connectivity=8)
    large: Sequence[bool] = found[:, cv2.CC_STAT_AREA] >= min_area
    keep = np.asarray(large, dtype=bool)
    keep[0] = False
    return np.asarray(keep[numbers], dtype=bool)
