"""Objects in whole images, in tiles and in several views, whatever finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import AnyLabel, Sample, Tag
from specrun.training.decoding import decoded_batches, opened
from specrun.training.nms import area, by_score, fused, suppressed
from specrun.training.predictor import PredictionSettings, ReadImage
from specrun.training.seams import SAME_IOU, merged
from specrun.training.tiles import windows
from specrun.training.tta import original_labels, seen_pixels, views

Images = Sequence[NDArray[np.uint8]]
Detect = Callable[[Images], Sequence[Sequence[AnyLabel]]]
"""Images of one size, (h, w, 3) uint8, blue first → labels of each, in its pixels."""
DetectScaled = Callable[[Images, float], Sequence[Sequence[AnyLabel]]]
"""The same by a model that brings images to a size of its own: at so many times this size."""


def predict_instances(
    samples: Iterable[Sample],
    detect: Detect,
    settings: PredictionSettings,
    read: ReadImage,
    *,
    threads: int = 1,
    scaled: DetectScaled | None = None,
) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
    """scaled: for models that bring images to a size of their own; None: the images are scaled.

    Raises FormatError: an image is of another size than the dataset says.
    """
    look = partial(_in_views, detect, scaled, settings=settings)
    if settings.tile is not None:
        for sample in samples:
            yield sample, chosen_labels(_tiled(sample, look, settings, read), settings)
        return
    for members, images in decoded_batches(samples, settings.batch, read, threads, ahead=settings.ahead):
        for sample, labels in zip(members, look(images), strict=True):
            yield sample, chosen_labels(labels, settings)


def _in_views(
    detect: Detect, scaled: DetectScaled | None, images: Images, *, settings: PredictionSettings
) -> Sequence[Sequence[AnyLabel]]:
    chosen = views(settings.tta)
    if len(chosen) == 1:
        return detect(images)
    points = settings.points
    seen: list[list[list[AnyLabel]]] = [[] for _ in images]
    for wanted in chosen:
        view = wanted if scaled is None else replace(wanted, scale=1.0)
        pixels = [seen_pixels(view, image) for image in images]
        found = detect(pixels) if scaled is None or wanted.scale == 1.0 else scaled(pixels, wanted.scale)
        for number, labels in enumerate(found):
            size_wh = images[number].shape[1], images[number].shape[0]
            swap = (lambda _: points.mirrored()) if points is not None else None
            seen[number].append(list(original_labels(view, labels, size_wh, swap)))
    return [fused(each, settings.nms_iou or SAME_IOU, class_wise=settings.class_wise) for each in seen]


def _tiled(sample: Sample, look: Detect, settings: PredictionSettings, read: ReadImage) -> list[AnyLabel]:
    assert settings.tile is not None
    places = windows(sample.size_wh, settings.tile)
    found: list[Sequence[AnyLabel]] = []
    with opened(sample, read, settings.open_image) as read_window:
        for start in range(0, len(places), settings.batch):
            found += look([read_window(window) for window in places[start : start + settings.batch]])
    tiles = zip(places, found, strict=True)
    return merged(tiles, sample.size_wh, least_iou=settings.nms_iou or SAME_IOU, class_wise=settings.class_wise)


def chosen_labels(labels: Sequence[AnyLabel], settings: PredictionSettings) -> tuple[AnyLabel, ...]:
    """Certain and large enough, and no more than wanted."""
    least = settings.threshold or 0.0
    kept = [label for label in labels if label.score is None or label.score >= least]
    if settings.min_area:
        kept = [label for label in kept if isinstance(label, Tag) or area(label) >= settings.min_area]
    if settings.nms_iou is not None:
        kept = suppressed(kept, settings.nms_iou, class_wise=settings.class_wise)
    return tuple(by_score(kept)[: settings.max_count])
