"""The numbers of an evaluation: labels to instances, pixels and classes, scored by `training.metrics`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from specrun.errors import NodeError
from specrun.kinds.evaluations.labels import (
    Pair,
    class_bitmaps,
    classes_through,
    counts_in,
    ignored_pixels,
    image_classes,
    instances,
    pixel_classes,
    predicted_pixels,
    rotated,
    skeleton_of,
    task_of,
    through_taxonomy,
    without_background,
)
from specrun.kinds.evaluations.metrics import DEFAULT_METRICS
from specrun.kinds.evaluations.rules import listed, refuse_metrics, refuse_missing
from specrun.kinds.predictions.coco import label_box, truth_box
from specrun.model.digest import Json
from specrun.model.labels import Box, Keypoints, Sample, Tag
from specrun.model.taxonomy import ResolvedTaxonomy
from specrun.model.work import Context, Made
from specrun.training.metrics.classification import (
    ClassificationScores,
    ImageClasses,
    class_confusion,
    count_classes,
    score_classes,
)
from specrun.training.metrics.instances import (
    ClassMatches,
    ImageInstances,
    InstanceScores,
    Measure,
    match_classes,
    score_instances,
)
from specrun.training.metrics.keypoints import PointShares, correct_points
from specrun.training.metrics.mistakes import ImageMatches, confusion_matrix, match_images
from specrun.training.metrics.overlap import find_pairs
from specrun.training.metrics.semantic import (
    SemanticScores,
    confusion_counts,
    overlapping_counts,
    pixel_confusion,
    score_pixels,
)

_LOW_THRESHOLD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """metrics: None: those of the model's task. points, sigmas: of the skeleton that was named.
    multi_label: a pixel may have several classes; None: as evaluation_rules decides."""

    metrics: tuple[str, ...] | None = None
    taxonomy: ResolvedTaxonomy | None = None
    points: tuple[str, ...] = ()
    sigmas: Mapping[str, float] = field(default_factory=dict)
    multi_label: bool | None = None


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """One measure: its numbers, and the matches that they come from."""

    scores: InstanceScores
    matches: Mapping[int, ClassMatches]


@dataclass(frozen=True, slots=True)
class PixelScores:
    """counts: (images, 3, classes + 1). confusion: None where pixels may have several classes."""

    scores: SemanticScores
    counts: NDArray[np.int64]
    confusion: NDArray[np.int64] | None

    @property
    def overlapping(self) -> bool:
        return self.confusion is None


@dataclass(frozen=True, slots=True)
class TagScores:
    scores: ClassificationScores
    counts: NDArray[np.int64]
    images: tuple[ImageClasses, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One predictions node. classes: of the model, then those that only the truth knows.

    objects: `mask`, `points` or `box` → scores, the one that mistakes are counted by first.
    images, matches: by image, empty when no objects were compared; matches at `confidence`, where F1 is highest.
    confusion: None when it was not asked for; rows and columns by `confusion_names`.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    pairs: tuple[Pair, ...]
    images: tuple[ImageInstances, ...] = ()
    objects: Mapping[str, ObjectScores] = field(default_factory=dict)
    point_names: tuple[str, ...] = ()
    points: PointShares | None = None
    pixels: PixelScores | None = None
    tags: TagScores | None = None
    confusion: NDArray[np.int64] | None = None
    confusion_names: tuple[str, ...] = ()
    confidence: float = 0.0
    matches: tuple[ImageMatches, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(drawn.key for drawn, _ in self.pairs)

    @property
    def main(self) -> InstanceScores | None:
        return next((found.scores for found in self.objects.values()), None)

    def prefix(self, measure: str) -> str:
        """What stands before `map50`: nothing for the masks or boxes that count."""
        return "oks_" if measure == "points" else "box_" if measure == "box" and len(self.objects) > 1 else ""

    def facts(self, *, per_class: bool) -> dict[str, Json]:
        facts: dict[str, Json] = {"images": len(self.pairs)}
        if self.main is not None:
            facts["confidence"] = number(self.confidence)
        for place, (measure, found) in enumerate(self.objects.items()):
            prefix = self.prefix(measure)
            facts |= {f"{prefix}map50": number(found.scores.map50), f"{prefix}map": number(found.scores.map)}
            if not place:
                facts |= {"precision": number(found.scores.precision), "recall": number(found.scores.recall)}
        if self.points is not None:
            facts["pck"] = number(self.points.pck)
        if self.pixels is not None:
            scores = self.pixels.scores
            facts |= {"miou": number(scores.miou), "dice": number(scores.dice)}
            facts["pixel_accuracy"] = number(scores.pixel_accuracy)
        if self.tags is not None:
            of_tags = self.tags.scores
            facts |= {"accuracy": number(of_tags.accuracy), "top5": number(of_tags.top5), "f1": number(of_tags.f1)}
        if per_class:
            facts["per_class"] = dict(self.by_class())
            if self.points is not None:
                shares = zip(self._point_labels(), self.points.by_point(), strict=True)
                facts["pck_per_point"] = {name: number(share) for name, share in shares}
        return facts

    def _point_labels(self) -> Sequence[str]:
        assert self.points is not None
        return self.point_names or [str(place) for place in range(1, self.points.drawn.shape[1] + 1)]

    def by_class(self) -> dict[str, dict[str, Json]]:
        """Class → its numbers; null where it does not occur."""
        return {name: self._of_class(index) for index, name in enumerate(self.classes)}

    def _of_class(self, index: int) -> dict[str, Json]:
        values: dict[str, Json] = {}
        for measure, found in self.objects.items():
            prefix, of_class = self.prefix(measure), found.scores.by_class.get(index)
            values[f"{prefix}map50"] = number(of_class.map50) if of_class else None
            values[f"{prefix}map"] = number(of_class.map) if of_class else None
            values.setdefault("labels", of_class.truths if of_class else 0)
        if self.pixels is not None:
            scores = self.pixels.scores
            values["iou"] = number(scores.iou_by_class.get(index + 1, math.nan))
            values["dice"] = number(scores.dice_by_class.get(index + 1, math.nan))
            values["pixels"] = int(self.pixels.counts[:, 1, index + 1].sum())
        if self.tags is not None:
            precision, recall, f1, images = self.tags.scores.by_class[index]
            values |= {"precision": number(precision), "recall": number(recall), "f1": number(f1), "images": images}
        return values


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return round(value, 6) if math.isfinite(value) else None


def pair_up(predictions: Made, predicted: Iterable[Sample], truth: Mapping[str, Sample]) -> list[Pair]:
    """Raises NodeError: there is no truth, or not one predicted image is in it."""
    samples = list(predicted)
    pairs = [(truth[sample.key], sample) for sample in samples if sample.key in truth]
    if not truth:
        raise NodeError("no image has a ground truth.", hint="Have images annotated first.")
    if not pairs:
        hint = "Apply the predictions again."
        raise NodeError(f"{predictions.address}: none of its {len(samples)} images is in the dataset.", hint=hint)
    return pairs


def evaluate(predictions: Made, pairs: Sequence[Pair], wishes: Wishes, ctx: Context, *, gone: int = 0) -> Evaluated:
    """gone: predicted images that are not in the truth. Raises NodeError: the truth has not one class of the model,
    or a class that the taxonomy does not know."""
    whose = predictions.address.text
    task = task_of(predictions.facts.get("task"), pairs)
    truth = through_taxonomy((drawn for drawn, _ in pairs), wishes.taxonomy, task, "the ground truth")
    found = through_taxonomy((sample for _, sample in pairs), wishes.taxonomy, task, whose)
    pairs = list(zip(truth, found, strict=True))
    metrics = wishes.metrics or DEFAULT_METRICS[task]
    refuse_metrics(whose, task, metrics)
    known = classes_through([str(name) for name in predictions.facts["classes"]], wishes.taxonomy, whose)
    if task != "classify":
        pairs = [(without_background(drawn, known), sample) for drawn, sample in pairs]
    unknown = _unknown_labels(whose, known, pairs, task)
    base = Evaluated(
        name=whose.partition(".")[2], task=task, classes=(*known, *unknown), pairs=tuple(pairs),
        notes=_notes(predictions, task, gone, unknown),
    )  # fmt: skip
    if task == "classify":
        return _with_tags(base, metrics)
    if task != "semantic" or {"box_map", "mask_map"} & set(metrics):
        base = _with_objects(base, metrics, wishes, whose, ctx)
    if task == "semantic" or "miou" in metrics:
        base = _with_pixels(base, metrics, wishes)
    return base


def _with_tags(base: Evaluated, metrics: Sequence[str]) -> Evaluated:
    tagged = [pair for pair in base.pairs if any(isinstance(label, Tag) for label in pair[0].labels)]
    images = tuple(image_classes(pair, base.classes) for pair in tagged)
    counts = count_classes(images, len(base.classes))
    left_out = len(base.pairs) - len(tagged)
    note = f"{left_out} images without a class in the truth were left out"
    confusion = class_confusion(images, len(base.classes)) if "confusion" in metrics else None
    return replace(
        base, pairs=tuple(tagged), tags=TagScores(score_classes(counts), counts, images), confusion=confusion,
        confusion_names=(*base.classes, "nothing"), notes=(*base.notes, *([note] if left_out else ())),
    )  # fmt: skip


def _with_objects(base: Evaluated, metrics: Sequence[str], wishes: Wishes, whose: str, ctx: Context) -> Evaluated:
    pose = base.task == "pose" or bool({"oks", "pck"} & set(metrics))
    skeleton = skeleton_of(base.pairs, wishes.points, dict(wishes.sigmas), whose) if pose else None
    without_masks = _sides_without_masks(whose, base.pairs) if "mask_map" in metrics else []
    refuse_missing(wishes.metrics, without_masks, pose=pose, points=skeleton is not None)
    turned = base.task == "obb" or rotated(base.pairs)
    by_mask = "mask_map" in metrics and not without_masks
    images = []
    for done, (drawn, found) in enumerate(base.pairs, start=1):
        truth = instances(drawn, base.classes, truth_box, masks=by_mask or turned, skeleton=skeleton)
        predicted = instances(found, base.classes, label_box, masks=by_mask or turned, skeleton=skeleton)
        images.append(ImageInstances(truth, predicted))
        ctx.progress(done, len(base.pairs), "images", f"reading {whose}", part=True)
        ctx.check_stop()
    wanted: dict[str, Measure] = {}
    if by_mask:
        wanted["mask"] = Measure.MASK
    if skeleton is not None and "oks" in metrics:
        wanted["points"] = Measure.POINTS
    if "box_map" in metrics or not wanted:
        wanted["box"] = Measure.MASK if turned else Measure.BOX
    sigmas = skeleton.sigmas if skeleton else None
    pairs = {name: find_pairs(images, measure, sigmas) for name, measure in wanted.items()}
    matched = {name: match_classes(pairs[name], wanted[name].max_detections) for name in wanted}
    objects = {name: ObjectScores(score_instances(found), found) for name, found in matched.items()}
    main = next(iter(objects))
    confidence = objects[main].scores.confidence
    matches = match_images(images, pairs[main], confidence=confidence)
    notes = list(base.notes)
    if without_masks:
        sides = " and of ".join(without_masks)
        notes.append(f"the objects of {sides} are not all masks or polygons, so boxes were compared instead of masks")
    if pose and skeleton is None:
        notes.append("the truth has no keypoints, so boxes were compared instead")
    return replace(
        base, images=tuple(images), objects=objects, confidence=confidence, matches=tuple(matches), notes=tuple(notes),
        points=_shares(images, confidence, len(sigmas)) if sigmas is not None and "pck" in metrics else None,
        point_names=skeleton.names if skeleton else (),
        confusion=confusion_matrix(images, matches, len(base.classes)) if "confusion" in metrics else None,
        confusion_names=(*base.classes, "background"),
    )  # fmt: skip


def _shares(images: Sequence[ImageInstances], confidence: float, points: int) -> PointShares:
    """Objects are paired by their boxes: pairs by their points would leave out the bad ones."""
    matches = match_images(images, find_pairs(images, Measure.BOX), confidence=confidence)
    return correct_points(images, [[(t, p) for t, p, _ in found.pairs] for found in matches], points)


def _with_pixels(base: Evaluated, metrics: Sequence[str], wishes: Wishes) -> Evaluated:
    several = bool(wishes.multi_label)
    size = len(base.classes) + 1
    # What a semantic model found is one class a pixel already, however certain.
    confidence = 0.0 if base.task == "semantic" else base.confidence
    counts = np.zeros((len(base.pairs), 3, size), dtype=np.int64)
    confusion = np.zeros((size, size), dtype=np.int64)
    for place, (drawn, found) in enumerate(base.pairs):
        if several:
            sides = class_bitmaps(drawn, base.classes, 0.0), class_bitmaps(found, base.classes, confidence)
            counts[place] = overlapping_counts(*sides, size, ignored_pixels(drawn))
            continue
        truth = pixel_classes(drawn, base.classes)
        of_image = pixel_confusion(truth, predicted_pixels(found, base.classes, confidence), size)
        counts[place], confusion = confusion_counts(of_image), confusion + of_image
    scores = score_pixels(counts.sum(axis=0), overlapping=several)
    pixels = PixelScores(scores, counts, None if several else confusion)
    if base.confusion is not None or "confusion" not in metrics or several:
        return replace(base, pixels=pixels)
    return replace(base, pixels=pixels, confusion=confusion, confusion_names=("background", *base.classes))


def _sides_without_masks(whose: str, pairs: Sequence[Pair]) -> list[str]:
    """Which of both has objects that are neither masks nor polygons."""
    sides = ("the ground truth", whose)
    return [
        side
        for place, side in enumerate(sides)
        if any(isinstance(label, Box | Keypoints) for pair in pairs for label in pair[place].labels)
    ]


def _unknown_labels(whose: str, known: Sequence[str], pairs: Iterable[Pair], task: str) -> dict[str, int]:
    """Class that the model does not know → its labels in the truth. Raises NodeError: no class is shared."""
    sides: list[Counter[str]] = [Counter(), Counter()]
    for pair in pairs:
        for side, sample in zip(sides, pair, strict=True):
            side.update(label.label for label in sample.labels if counts_in(label, task))
    drawn = sides[0]
    if drawn and not drawn.keys() & set(known):
        raise NodeError(
            f"{whose}: the model and the truth share no class; the model knows {listed(known)}, "
            f"the truth has {listed(sorted(drawn))}.",
            hint="Evaluate it on a dataset with the model's classes, or name a `taxonomy` that maps both.",
        )
    return {name: drawn[name] for name in sorted((drawn.keys() | sides[1].keys()) - set(known))}


def _notes(predictions: Made, task: str, gone: int, unknown: Mapping[str, int]) -> tuple[str, ...]:
    notes = []
    threshold = float(predictions.facts.get("threshold", 0))
    if threshold > _LOW_THRESHOLD and task not in ("semantic", "classify"):
        notes.append(
            f"{predictions.address} holds only labels of at least {threshold:g} confidence, so average precision is "
            "lower than it could be; a threshold of 0.001 gives the whole curve"
        )
    if task == "classify" and threshold > 1 / max(len(predictions.facts["classes"]), 1):
        notes.append(
            f"{predictions.address} holds a class only where the most certain one has at least {threshold:g} "
            "confidence; the other images count as wrong"
        )
    if gone:
        notes.append(f"{gone} predicted images are no longer in the dataset and were left out")
    if unknown:
        count = sum(unknown.values())
        labels = "1 truth label is of a class" if count == 1 else f"{count:,} truth labels are of classes"
        notes.append(f"{labels} the model does not know: {listed(list(unknown))}")
    return tuple(notes)
