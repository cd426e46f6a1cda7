"""An evaluation as a run of FiftyOne with its results: what the App's model evaluation panel shows.

Imported in workers that are bound to a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from specrun.kinds.evaluations.scores import Evaluated
from specrun.training.metrics.instances import IOU_THRESHOLDS, RECALL_THRESHOLDS
from specrun.training.metrics.mistakes import MATCH_IOU

_ABSENT = -1.0
"""FiftyOne's precision of a class that does not occur."""


class Found(NamedTuple):
    """A truth, a prediction or both, as FiftyOne keeps its matches."""

    truth: str | None
    predicted: str | None
    iou: float | None
    confidence: float | None
    truth_id: str | None
    predicted_id: str | None


def register_run(
    dataset: Any, key: str, truth: str, predictions: str, evaluated: Evaluated, found: Sequence[Found]
) -> None:
    """The run, its fields and its results; what an earlier run of the key left is replaced.

    truth, predictions: FiftyOne's fields.
    """
    config = _config(truth, predictions, evaluated)
    method = config.build()
    if dataset.has_evaluation(key) and not _same_sort(dataset.get_evaluation_info(key).config, config):
        dataset.delete_evaluation(key)
    method.register_run(dataset, key, overwrite=True)
    method.register_samples(dataset, key)
    results = _results(dataset, config, method, key, evaluated, found)
    if results is not None:
        method.save_run_results(dataset, key, results)


def _same_sort(earlier: Any, config: Any) -> bool:
    """FiftyOne overwrites a run only by one of its sort, on the same fields."""
    fields = [(one.gt_field, one.pred_field) for one in (earlier, config)]
    return type(earlier) is type(config) and fields[0] == fields[1]


def _config(truth: str, predictions: str, evaluated: Evaluated) -> Any:
    # FiftyOne binds the process to a database when it is imported.
    from fiftyone.utils.eval.classification import SimpleEvaluationConfig as Classes
    from fiftyone.utils.eval.coco import COCOEvaluationConfig
    from fiftyone.utils.eval.segmentation import SimpleEvaluationConfig as Pixels

    if evaluated.tags is not None:
        return Classes(predictions, truth)
    if not evaluated.images:
        return Pixels(predictions, truth)
    thresholds = IOU_THRESHOLDS.tolist()
    masks = "mask" in evaluated.objects
    return COCOEvaluationConfig(
        predictions, truth, iou=MATCH_IOU, classwise=False, use_masks=masks, compute_mAP=True, iou_threshs=thresholds
    )


def _results(
    dataset: Any, config: Any, method: Any, key: str, evaluated: Evaluated, found: Sequence[Found]
) -> Any | None:
    """None: FiftyOne has no results for pixels of several classes."""
    from fiftyone.utils.eval.classification import ClassificationResults
    from fiftyone.utils.eval.coco import COCODetectionResults
    from fiftyone.utils.eval.segmentation import SegmentationResults

    if evaluated.tags is not None:
        columns = list(zip(*found, strict=True)) or [()] * len(Found._fields)
        return ClassificationResults(
            dataset, config, key, columns[0], columns[1], confs=columns[3], ytrue_ids=columns[4],
            ypred_ids=columns[5], classes=list(evaluated.classes), backend=method,
        )  # fmt: skip
    if evaluated.images:
        precision, recall = _curves(evaluated)
        return COCODetectionResults(
            dataset, config, key, [tuple(one) for one in found], precision, RECALL_THRESHOLDS, IOU_THRESHOLDS,
            list(evaluated.classes), recall_sweep=recall, backend=method,
        )  # fmt: skip
    if evaluated.pixels is None or evaluated.pixels.confusion is None:
        return None
    names = ["background", *evaluated.classes]
    confusion = evaluated.pixels.confusion
    return SegmentationResults(dataset, config, key, confusion, names, missing="background", backend=method)


def _curves(evaluated: Evaluated) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Precision (IoU thresholds, classes, recalls) and the highest recall (IoU thresholds, classes)."""
    matches = next(iter(evaluated.objects.values())).matches
    precision = np.full((len(IOU_THRESHOLDS), len(evaluated.classes), len(RECALL_THRESHOLDS)), _ABSENT)
    recall = np.full((len(IOU_THRESHOLDS), len(evaluated.classes)), _ABSENT)
    for index, of_class in matches.items():
        curves = of_class.precisions()
        if curves is not None:
            precision[:, index] = curves.T
            recall[:, index] = (of_class.matched & of_class.counted).sum(axis=0) / len(of_class.truth_image)
    return precision, recall
