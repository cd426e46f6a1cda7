"""The numbers of an evaluation: labels to instances and pixels, scored by `training.metrics`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from specrun.errors import NodeError
from specrun.formats.draw_order import in_draw_order
from specrun.formats.geometry import XYWH
from specrun.formats.samples import load_samples
from specrun.kinds.prediction_coco import label_box, truth_box
from specrun.kinds.prediction_images import class_mask, label_window
from specrun.kinds.prediction_memory import PREDICTIONS_NAME
from specrun.model.digest import Json
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Polygon, Sample
from specrun.model.work import Context, Made
from specrun.training.metrics.instances import ImageInstances, Instance, InstanceScores, score_instances
from specrun.training.metrics.mistakes import ImageMatches, confusion_matrix, match_image
from specrun.training.metrics.semantic import SemanticScores, pixel_confusion, score_pixels

_LOW_THRESHOLD = 0.05
_WORST_SHOWN = 20
_CLASSES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class WorstImage:
    key: str
    name: str
    missed: int
    invented: int
    swapped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One predictions node. classes: of the model, then those that only the truth knows.

    keys, images, matches: by image; matches at `confidence`, where F1 is highest.
    confusion: None when it was not asked for; its last row and column are the background.
    """

    name: str
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    images: tuple[ImageInstances, ...]
    boxes: InstanceScores | None
    masks: InstanceScores | None
    pixels: SemanticScores | None
    confusion: NDArray[np.int64] | None
    confidence: float
    matches: tuple[ImageMatches, ...]
    worst: tuple[WorstImage, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def main(self) -> InstanceScores | None:
        return self.masks or self.boxes

    def facts(self, *, per_class: bool) -> dict[str, Json]:
        facts: dict[str, Json] = {"images": len(self.images), "confidence": number(self.confidence)}
        if self.main is not None:
            facts |= {"map50": number(self.main.map50), "map": number(self.main.map)}
            facts |= {"precision": number(self.main.precision), "recall": number(self.main.recall)}
        if self.masks is not None and self.boxes is not None:
            facts |= {"box_map50": number(self.boxes.map50), "box_map": number(self.boxes.map)}
        if self.pixels is not None:
            facts |= {"miou": number(self.pixels.miou), "pixel_accuracy": number(self.pixels.pixel_accuracy)}
        if per_class:
            facts["per_class"] = dict(self.by_class())
        return facts

    def by_class(self) -> dict[str, dict[str, Json]]:
        """Class → its numbers; a class without any truth has none."""
        found: dict[str, dict[str, Json]] = {}
        for index, name in enumerate(self.classes):
            values: dict[str, Json] = {}
            for prefix, scores in (("", self.main), ("box_", self.boxes if self.masks else None)):
                if scores is not None and index in scores.by_class:
                    of_class = scores.by_class[index]
                    values |= {f"{prefix}map50": number(of_class.map50), f"{prefix}map": number(of_class.map)}
                    values["labels"] = of_class.truths
            if self.pixels is not None:
                values["iou"] = number(self.pixels.iou_by_class.get(index + 1, math.nan))
            found[name] = values
        return found


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return round(value, 6) if math.isfinite(value) else None


def evaluate(predictions: Made, truth: Mapping[str, Sample], metrics: Sequence[str], ctx: Context) -> Evaluated:
    """truth: by sample key. Raises NodeError: not one predicted image is in the truth, or not one class of it."""
    predicted = list(load_samples(predictions.folder / PREDICTIONS_NAME, ctx.project_dir))
    pairs = [(truth[sample.key], sample) for sample in predicted if sample.key in truth]
    if not pairs:
        hint = "Apply the predictions again."
        raise NodeError(f"{predictions.address}: none of its {len(predicted)} images is in the dataset.", hint=hint)
    unknown = _unknown_labels(predictions, pairs)
    classes = (*_known_classes(predictions), *unknown)
    without_masks = _sides_without_masks(predictions, pairs)
    use_masks = "mask_map" in metrics and not without_masks
    images = []
    for done, (drawn, found) in enumerate(pairs, start=1):
        images.append(
            ImageInstances(
                _instances(drawn.labels, classes, drawn.size_wh, truth_box, masks=use_masks),
                _instances(found.labels, classes, found.size_wh, label_box, masks=use_masks),
            )
        )
        ctx.progress(done, len(pairs), "images", f"reading {predictions.address}")
        ctx.check_stop()
    boxes = score_instances(images, masks=False) if "box_map" in metrics or not use_masks else None
    masks = score_instances(images, masks=True) if use_masks else None
    main = masks or boxes
    assert main is not None
    matches = [match_image(image, confidence=main.confidence, masks=use_masks) for image in images]
    return Evaluated(
        name=predictions.address.text.partition(".")[2],
        classes=classes,
        keys=tuple(drawn.key for drawn, _ in pairs),
        images=tuple(images),
        boxes=boxes,
        masks=masks,
        pixels=_pixels(pairs, classes, main.confidence) if "miou" in metrics else None,
        confusion=confusion_matrix(images, matches, len(classes)) if "confusion" in metrics else None,
        confidence=main.confidence,
        matches=tuple(matches),
        worst=_worst(pairs, images, matches),
        notes=_notes(predictions, len(predicted) - len(pairs), without_masks if "mask_map" in metrics else (), unknown),
    )


def _sides_without_masks(predictions: Made, pairs: Sequence[tuple[Sample, Sample]]) -> list[str]:
    """Which of both has objects that are neither masks nor polygons."""
    sides = ("the ground truth", predictions.address.text)
    return [
        side
        for place, side in enumerate(sides)
        if any(isinstance(label, Box | Keypoints) for pair in pairs for label in pair[place].labels)
    ]


def _known_classes(predictions: Made) -> tuple[str, ...]:
    return tuple(str(name) for name in predictions.facts["classes"])


def _unknown_labels(predictions: Made, pairs: Iterable[tuple[Sample, Sample]]) -> dict[str, int]:
    """Class that the model does not know → its labels in the truth. Raises NodeError: no class is shared."""
    known = _known_classes(predictions)
    drawn = Counter(label.label for sample, _ in pairs for label in sample.labels if is_object(label))
    if drawn and not drawn.keys() & set(known):
        raise NodeError(
            f"{predictions.address}: the model and the truth share no class; the model knows {_listed(known)}, "
            f"the truth has {_listed(sorted(drawn))}.",
            hint="Evaluate it on a dataset with the model's classes, or rename them in the taxonomy.",
        )
    return {name: drawn[name] for name in sorted(drawn.keys() - set(known))}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_CLASSES_SHOWN]) + (", …" if len(names) > _CLASSES_SHOWN else "")


def _instances(
    labels: Iterable[AnyLabel],
    classes: Sequence[str],
    size_wh: tuple[int, int],
    box_of: Callable[[AnyLabel, tuple[int, int]], XYWH | None],
    *,
    masks: bool,
) -> list[Instance]:
    """Objects, not tags and lines. The order of the labels is kept, so one that shows nothing in the image stays,
    and counts for nothing."""
    found = []
    for label in labels:
        if not is_object(label):
            continue
        box = box_of(label, size_wh)
        window = label_window(label, size_wh) if masks else None
        found.append(
            Instance(
                class_index=classes.index(label.label),
                box_xywh=box or (0.0, 0.0, 0.0, 0.0),
                bitmap=window[0] if window else None,
                left=window[1] if window else 0,
                top=window[2] if window else 0,
                score=1.0 if label.score is None else label.score,
                crowd=label.crowd or box is None,
            )
        )
    return found


def is_object(label: AnyLabel) -> bool:
    return isinstance(label, Box | Mask | Polygon | Keypoints)


def _pixels(pairs: Iterable[tuple[Sample, Sample]], classes: Sequence[str], confidence: float) -> SemanticScores:
    confusion = np.zeros((len(classes) + 1,) * 2, dtype=np.int64)
    for drawn, found in pairs:
        by_score = sorted(found.labels, key=lambda label: label.score or 0.0)
        certain = [label for label in by_score if (label.score or 0.0) >= confidence]
        truth = class_mask(in_draw_order(drawn.labels), classes, drawn.size_wh).astype(np.int32)
        predicted = class_mask(certain, classes, drawn.size_wh).astype(np.int32)
        confusion += pixel_confusion(truth, predicted, len(classes) + 1)
    return score_pixels(confusion)


def _worst(
    pairs: Sequence[tuple[Sample, Sample]], images: Sequence[ImageInstances], matches: Sequence[ImageMatches]
) -> tuple[WorstImage, ...]:
    rows = []
    for (drawn, _), image, found in zip(pairs, images, matches, strict=True):
        missed, invented = len(found.missed), len(found.invented)
        swapped = found.mistakes(image) - missed - invented
        if missed + invented + swapped:
            rows.append(WorstImage(drawn.key, drawn.name, missed, invented, swapped))
    rows.sort(key=lambda row: (-(row.missed + row.invented + row.swapped), row.key))
    return tuple(rows[:_WORST_SHOWN])


def _notes(predictions: Made, gone: int, without_masks: Sequence[str], unknown: Mapping[str, int]) -> tuple[str, ...]:
    notes = []
    threshold = float(predictions.facts.get("threshold", 0))
    if threshold > _LOW_THRESHOLD:
        notes.append(
            f"{predictions.address} holds only labels of at least {threshold:g} confidence, so average precision is "
            "lower than it could be; a threshold of 0.01 gives the whole curve"
        )
    if gone:
        notes.append(f"{gone} predicted images are no longer in the dataset and were left out")
    if unknown:
        count = sum(unknown.values())
        labels = "1 truth label is of a class" if count == 1 else f"{count:,} truth labels are of classes"
        notes.append(f"{labels} the model does not know: {_listed(list(unknown))}")
    if without_masks:
        sides = " and of ".join(without_masks)
        notes.append(f"the objects of {sides} are not all masks or polygons, so boxes were compared instead of masks")
    return tuple(notes)
