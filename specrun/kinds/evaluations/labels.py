"""Labels as the metrics want them: instances, classes by pixel, classes of the image; through a taxonomy if asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specrun.errors import NodeError
from specrun.formats.draw_order import in_draw_order
from specrun.formats.geometry import XYWH
from specrun.kinds.predictions.images import class_mask, label_window
from specrun.model.labels import AnyLabel, Bitmap, Box, Keypoints, Mask, Polygon, Sample, Tag, Visibility
from specrun.model.taxonomy import ResolvedTaxonomy, UnmappedLabel
from specrun.training.metrics.classification import ImageClasses
from specrun.training.metrics.instances import Floats, Instance
from specrun.training.metrics.keypoints import sigmas_of
from specrun.training.metrics.semantic import IGNORED

_BACKGROUND = "background"
TASKS = ("classify", "semantic", "detect", "segment", "pose", "obb")
Pair = tuple[Sample, Sample]
"""What was drawn on an image, and what was predicted."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """names: of the points, () for bare ones. sigmas: one a point."""

    names: tuple[str, ...]
    sigmas: Floats


def is_object(label: AnyLabel) -> bool:
    return isinstance(label, Box | Mask | Polygon | Keypoints)


def task_of(declared: Any, pairs: Sequence[Pair]) -> str:
    """The model's own, else what its labels are, else what the truth is."""
    if declared in TASKS:
        return str(declared)
    for side in (1, 0):
        found = {type(label) for pair in pairs for label in pair[side].labels}
        for sorts, task in (
            ({Keypoints}, "pose"),
            ({Mask, Polygon}, "segment"),
            ({Box}, "detect"),
            ({Tag}, "classify"),
        ):
            if found & sorts:
                return task
    return "detect"


def counts_in(label: AnyLabel, task: str) -> bool:
    """Classes of images where the model classifies, else objects."""
    return isinstance(label, Tag) if task == "classify" else is_object(label)


def through_taxonomy(
    samples: Iterable[Sample], taxonomy: ResolvedTaxonomy | None, task: str, whose: str
) -> list[Sample]:
    """Raises NodeError: a label that the taxonomy does not know, among those that count."""
    if taxonomy is None:
        return list(samples)
    try:
        return [replace(sample, labels=tuple(_mapped(sample.labels, taxonomy, task))) for sample in samples]
    except UnmappedLabel as error:
        raise NodeError(f"{whose}: {error.message}", hint=error.hint) from None


def classes_through(classes: Sequence[str], taxonomy: ResolvedTaxonomy | None, whose: str) -> tuple[str, ...]:
    if taxonomy is None:
        return tuple(classes)
    try:
        found = dict.fromkeys(name for known in classes if (name := taxonomy.apply(known)) is not None)
    except UnmappedLabel as error:
        raise NodeError(f"{whose}: {error.message}", hint=error.hint) from None
    return tuple(name for name in taxonomy.order(frozenset(found)) if name in found)


def class_through(name: str, taxonomy: ResolvedTaxonomy, task: str) -> str | None:
    """None: dropped. A background that a taxonomy does not name is the background in its classes too. Raises
    UnmappedLabel."""
    try:
        return taxonomy.apply(name)
    except UnmappedLabel:
        if task != "classify" and is_background(name, ()):
            return name
        raise


def _mapped(labels: Iterable[AnyLabel], taxonomy: ResolvedTaxonomy, task: str) -> Iterable[AnyLabel]:
    for label in labels:
        name = class_through(label.label, taxonomy, task) if counts_in(label, task) else label.label
        if name is None:
            continue
        if isinstance(label, Tag) and label.others:
            mapped = ((taxonomy.apply(other), score) for other, score in label.others)
            label = replace(label, others=tuple((other, score) for other, score in mapped if other is not None))
        yield label if name == label.label else replace(label, label=name)


def is_background(name: str, classes: Sequence[str]) -> bool:
    """Whether a label says only that nothing is there, as data sets of masks do; exports write it as background."""
    return name.casefold() == _BACKGROUND and name not in classes


def without_background(sample: Sample, classes: Sequence[str]) -> Sample:
    """classes: of the model, which may have learnt one of that name. What a background covers is cut out of the masks
    and outlines below it."""
    if not any(is_background(label.label, classes) for label in sample.labels):
        return sample
    covered = np.zeros((sample.size_wh[1], sample.size_wh[0]), dtype=bool)
    seen: dict[int, AnyLabel] = {}
    for label in reversed(in_draw_order(sample.labels)):
        if is_background(label.label, classes):
            _paint(covered, label, sample)
        else:
            seen[id(label)] = _cut(label, covered, sample)
    return replace(sample, labels=tuple(seen[id(label)] for label in sample.labels if id(label) in seen))


def _cut(label: AnyLabel, covered: Bitmap, sample: Sample) -> AnyLabel:
    window = label_window(label, sample.size_wh) if isinstance(label, Mask | Polygon) else None
    if window is None:
        return label
    bitmap, left, top = window
    free = ~covered[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
    if free[bitmap].all():
        return label
    return Mask(label=label.label, bitmap=bitmap & free, left=left, top=top, z_order=label.z_order, crowd=label.crowd)


def instances(
    sample: Sample,
    classes: Sequence[str],
    box_of: Callable[[AnyLabel, tuple[int, int]], XYWH | None],
    *,
    masks: bool,
    skeleton: Skeleton | None = None,
) -> list[Instance]:
    """Objects, not tags and lines. The order of the labels is kept, so one that shows nothing in the image stays,
    and counts for nothing."""
    size_wh = sample.size_wh
    numbers = {name: number for number, name in enumerate(classes)}
    found = []
    for label in sample.labels:
        if not is_object(label):
            continue
        box = box_of(label, size_wh)
        window = label_window(label, size_wh) if masks else None
        points = _points(label, skeleton) if skeleton else None
        found.append(
            Instance(
                class_index=numbers[label.label],
                box_xywh=box or (0.0, 0.0, 0.0, 0.0),
                bitmap=window[0] if window else None,
                left=window[1] if window else 0,
                top=window[2] if window else 0,
                points=points,
                score=1.0 if label.score is None else label.score,
                crowd=label.crowd or box is None,
                ignored=points is not None and not points[:, 2].any(),
            )
        )
    return found


def skeleton_of(
    pairs: Sequence[Pair], declared: Sequence[str], sigmas: dict[str, float], whose: str
) -> Skeleton | None:
    """declared: the points of the skeleton that was named; else those of the labels.

    None: no object has points. Raises NodeError: the truth has other points than the predictions.
    """
    sides = [
        [label for pair in pairs for label in pair[side].labels if isinstance(label, Keypoints)] for side in (0, 1)
    ]
    if not sides[0]:
        return None
    counts = [max((len(label.points) for label in side), default=0) for side in sides]
    count = len(declared) or max(counts)
    if sides[1] and counts[0] != counts[1]:
        message = f"{whose}: it finds {counts[1]} points an object, and the truth has {counts[0]}."
        raise NodeError(message, hint="Evaluate it on objects with the model's skeleton.")
    if max(counts) > count:
        message = f"{whose}: the skeleton has {count} points, and the objects have {max(counts)}."
        raise NodeError(message, hint="Name the skeleton of these objects.")
    named = next((label.names for side in sides for label in side if label.names), ())
    names = tuple(declared) or tuple(named)
    return Skeleton(names, sigmas_of(names, sigmas, count))


def _points(label: AnyLabel, skeleton: Skeleton) -> Floats:
    """(k, 3) in the skeleton's order; what it does not have is unmarked."""
    values = np.zeros((len(skeleton.sigmas), 3))
    if not isinstance(label, Keypoints):
        return values
    marked = label.visibility or (Visibility.VISIBLE,) * len(label.points)
    by_name = bool(label.names) and bool(skeleton.names)
    for number, (point, mark) in enumerate(zip(label.points, marked, strict=True)):
        name = label.names[number] if by_name else ""
        place = (skeleton.names.index(name) if name in skeleton.names else None) if by_name else number
        if place is not None and mark != Visibility.ABSENT:
            values[place] = (*point, int(mark))
    return values


def pixel_classes(sample: Sample, classes: Sequence[str]) -> NDArray[np.int32]:
    """(height, width): 0 background, else the class counted from 1. Crowds count for nothing where nothing else is."""
    shapes = in_draw_order(label for label in sample.labels if not label.crowd)
    pixels = class_mask(shapes, classes, sample.size_wh).astype(np.int32)
    pixels[(pixels == 0) & ignored_pixels(sample)] = IGNORED
    return pixels


def predicted_pixels(sample: Sample, classes: Sequence[str], confidence: float) -> NDArray[np.int32]:
    """The most certain on top."""
    certain = [label for label in sample.labels if label.score is None or label.score >= confidence]
    certain.sort(key=lambda label: 1.0 if label.score is None else label.score)
    return class_mask(certain, classes, sample.size_wh).astype(np.int32)


def ignored_pixels(sample: Sample) -> Bitmap:
    whole = np.zeros((sample.size_wh[1], sample.size_wh[0]), dtype=bool)
    for label in sample.labels:
        if label.crowd:
            _paint(whole, label, sample)
    return whole


def class_bitmaps(sample: Sample, classes: Sequence[str], confidence: float) -> dict[int, Bitmap]:
    """Class counted from 1 → its pixels, whatever else lies there."""
    found: dict[int, Bitmap] = {}
    for label in sample.labels:
        if label.crowd or (label.score is not None and label.score < confidence):
            continue
        if not isinstance(label, Box | Mask | Polygon):
            continue
        empty = np.zeros((sample.size_wh[1], sample.size_wh[0]), dtype=bool)
        _paint(found.setdefault(classes.index(label.label) + 1, empty), label, sample)
    return found


def masks_overlap(samples: Iterable[Sample]) -> bool:
    """Whether two masks of different classes share a pixel of one image."""
    for sample in samples:
        drawn = [
            label
            for label in sample.labels
            if isinstance(label, Mask) and not label.crowd and not is_background(label.label, ())
        ]
        by_class: dict[str, Bitmap] = {}
        for label in drawn if len({label.label for label in drawn}) > 1 else ():
            whole = by_class.setdefault(label.label, np.zeros((sample.size_wh[1], sample.size_wh[0]), dtype=bool))
            _paint(whole, label, sample)
        seen: Bitmap | None = None
        for whole in by_class.values():
            if seen is not None and (seen & whole).any():
                return True
            seen = whole if seen is None else seen | whole
    return False


def _paint(whole: Bitmap, label: AnyLabel, sample: Sample) -> None:
    window = label_window(label, sample.size_wh)
    if window is not None:
        bitmap, left, top = window
        whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] |= bitmap


def image_classes(pair: Pair, classes: Sequence[str]) -> ImageClasses:
    """A class that several of the model's became through a taxonomy has the place of the first."""
    tags = [[label for label in sample.labels if isinstance(label, Tag)] for sample in pair]
    answers = [(label.label, label.score or 0.0) for label in tags[1]]
    answers += [other for label in tags[1] for other in label.others]
    ranked = [name for name, _ in sorted(answers, key=lambda answer: -answer[1])]
    return ImageClasses(
        truth=tuple(dict.fromkeys(classes.index(label.label) for label in tags[0])),
        predicted=tuple(dict.fromkeys(classes.index(name) for name in ranked)),
    )


def rotated(pairs: Sequence[Pair]) -> bool:
    return any(
        isinstance(label, Box) and label.rotation for pair in pairs for sample in pair for label in sample.labels
    )
