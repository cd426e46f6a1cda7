"""Verdicts on labels in FiftyOne, where its App looks for them: `<key>` = tp, fp or fn, `<key>_id`, `<key>_iou`.

FiftyOne's own `evaluate_detections` wants truth and predictions of one type, so it cannot hold masks against
polygons, and its matches would be others than those behind our numbers. So the matches are ours, and FiftyOne
only registers the run: the App lists it, and digests leave its keys out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specrun.clients.fiftyone import Database, database
from specrun.clients.fiftyone.digests import label_docs
from specrun.clients.fiftyone.docs_to_labels import docs_to_labels
from specrun.clients.fiftyone.label_fields import FAMILIES
from specrun.clients.fiftyone.layout import MARK
from specrun.kinds.evaluation_labels import is_object
from specrun.kinds.evaluation_scores import Evaluated
from specrun.model.work import Context
from specrun.training.metrics.instances import ImageInstances
from specrun.training.metrics.mistakes import MATCH_IOU, ImageMatches

_BATCH = 500
_SHAPE_KEYS = ("_id", "_cls", "part_of", "bounding_box", "points", "closed", "filled", "label", "rotation")


@dataclass(frozen=True, slots=True)
class Marks:
    """key: of the run. truth, predictions: label fields of ours."""

    key: str
    truth: str
    predictions: str


@dataclass(frozen=True, slots=True)
class _Object:
    """places: dotted paths of the documents that make up one object. id: of the first."""

    places: tuple[str, ...]
    id: str


def mark_labels(dataset: str, marks: Marks, evaluated: Evaluated, ctx: Context) -> None:
    """Images whose labels in FiftyOne are no longer those that were evaluated get no marks."""
    from pymongo import UpdateOne  # comes with the database

    skipped = 0
    with database(ctx) as db:
        _register(db, dataset, marks)
        layout = db.layout(dataset)
        fields = {name: layout.family_fields(name) for name in (marks.truth, marks.predictions)}
        samples = db.mongo[layout.collection]
        by_key = dict(zip(evaluated.keys, zip(evaluated.images, evaluated.matches, strict=True), strict=True))
        updates = []
        for doc in samples.find(
            {f"{MARK}.key": {"$in": list(by_key)}}, _projection(fields.values()), batch_size=_BATCH
        ):
            image, found = by_key[doc[MARK]["key"]]
            truth = list(_objects(doc, fields[marks.truth]))
            predictions = list(_objects(doc, fields[marks.predictions]))
            if (len(truth), len(predictions)) != (len(image.truth), len(image.predictions)):
                skipped += 1
                continue
            values = _verdicts(marks.key, truth, predictions, image, found)
            updates.append(UpdateOne({"_id": doc["_id"]}, {"$set": values}))
        for start in range(0, len(updates), _BATCH):
            samples.bulk_write(updates[start : start + _BATCH], ordered=False)
        db.parts(dataset)  # read now, so that the next plan need not
    if skipped:
        ctx.log(f"{skipped} images were changed in FiftyOne after they were predicted: their labels have no marks")


def _register(db: Database, name: str, marks: Marks) -> None:
    """The run and its fields, as FiftyOne declares them; what an earlier run left is removed first."""
    from fiftyone.utils.eval.coco import COCOEvaluationConfig  # heavy; the database is bound before

    dataset = db.dataset(name)
    layout = db.layout(name)
    truth, predictions = (_main_field(layout.family_fields(f), f) for f in (marks.truth, marks.predictions))
    method = COCOEvaluationConfig(predictions, truth, iou=MATCH_IOU, classwise=False).build()
    method.register_run(dataset, marks.key, overwrite=True)
    method.register_samples(dataset, marks.key)


def _main_field(families: Mapping[str, str], label_field: str) -> str:
    return label_field if label_field in families.values() or not families else next(iter(families.values()))


def _projection(fields: Any) -> dict[str, int]:
    """Without the masks themselves."""
    wanted = {f"{MARK}.key": 1, "metadata": 1}
    for families in fields:
        for family, at in families.items():
            wanted |= {f"{at}.{family}.{key}": 1 for key in _SHAPE_KEYS}
            wanted[f"{at}._cls"] = 1
    return wanted


def _objects(doc: Mapping[str, Any], families: Mapping[str, str]) -> Iterator[_Object]:
    """The objects of a label field in the order in which the evaluation saw them."""
    for family in FAMILIES:
        if family not in families:
            continue
        at = families[family]
        owners: dict[object, int] = {}
        found: list[_Object] = []
        for number, entry in enumerate(label_docs(doc.get(at))):
            labels = docs_to_labels([entry], (1, 1))
            if not labels or not is_object(labels[0]):
                continue
            place, owner = f"{at}.{family}.{number}", entry.get("part_of")
            if owner is not None and owner in owners:
                first = found[owners[owner]]
                found[owners[owner]] = _Object((*first.places, place), first.id)
                continue
            if owner is not None:
                owners[owner] = len(found)
            found.append(_Object((place,), str(entry["_id"])))
        yield from found


def _verdicts(
    key: str,
    truth: Sequence[_Object],
    predictions: Sequence[_Object],
    image: ImageInstances,
    found: ImageMatches,
) -> dict[str, Any]:
    """A pair of different classes is a miss and an invention. Predictions below the confidence get no verdict."""
    values: dict[str, Any] = {}

    def mark(thing: _Object, verdict: str, other: str, iou: float | None) -> None:
        for place in thing.places:
            values.update({f"{place}.{key}": verdict, f"{place}.{key}_id": other, f"{place}.{key}_iou": iou})

    right = 0
    for t, p, iou in found.pairs:
        same = image.truth[t].class_index == image.predictions[p].class_index
        right += same
        mark(truth[t], "tp" if same else "fn", predictions[p].id, iou)
        mark(predictions[p], "tp" if same else "fp", truth[t].id, iou)
    for t in found.missed:
        mark(truth[t], "fn", "", None)
    for p in found.invented:
        mark(predictions[p], "fp", "", None)
    wrong = len(found.pairs) - right
    values[f"{key}_tp"], values[f"{key}_fn"] = right, len(found.missed) + wrong
    values[f"{key}_fp"] = len(found.invented) + wrong
    return values
