"""Verdicts on labels in FiftyOne, where its App looks for them: `<key>` = tp, fp or fn, `<key>_id`, `<key>_iou`.

FiftyOne's own `evaluate_detections` wants truth and predictions of one type, so it cannot hold masks against
polygons, and its matches would be others than those behind our numbers. So the matches are ours, and FiftyOne
gets the run with its results: the App lists it, shows its confusion and curves, and digests leave its keys out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from specrun.clients.fiftyone import Database, database
from specrun.clients.fiftyone.digests import label_docs
from specrun.clients.fiftyone.docs_to_labels import docs_to_labels
from specrun.clients.fiftyone.label_fields import FAMILIES
from specrun.clients.fiftyone.layout import MARK
from specrun.kinds.evaluations.labels import class_through, counts_in, is_background, pixel_classes, predicted_pixels
from specrun.kinds.evaluations.run import Found, register_run
from specrun.kinds.evaluations.scores import Evaluated
from specrun.kinds.predictions.images import label_window
from specrun.model.labels import AnyLabel
from specrun.model.taxonomy import ResolvedTaxonomy
from specrun.model.work import Context

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
    """places: dotted paths of the documents that make up one object. id: of the first. label: before a taxonomy."""

    places: tuple[str, ...]
    id: str
    label: str


@dataclass(slots=True)
class _Verdicts:
    """What is set in one sample's document, and the pairs for FiftyOne's results."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)

    def mark(self, thing: _Object, verdict: str, other: str = "", iou: float | None = None) -> None:
        for place in thing.places:
            self.values |= {
                f"{place}.{self.key}": verdict,
                f"{place}.{self.key}_id": other,
                f"{place}.{self.key}_iou": iou,
            }

    def count(self, **amounts: float) -> None:
        self.values |= {f"{self.key}_{name}": amount for name, amount in amounts.items()}


def mark_labels(
    dataset: str, marks: Marks, evaluated: Evaluated, taxonomy: ResolvedTaxonomy | None, ctx: Context
) -> None:
    """Images whose labels in FiftyOne are no longer those that were evaluated get no marks."""
    from pymongo import UpdateOne  # comes with the database

    skipped = 0
    with database(ctx) as db:
        layout = db.layout(dataset)
        fields = {name: layout.family_fields(name) for name in (marks.truth, marks.predictions)}
        samples = db.mongo[layout.collection]
        places = {key: place for place, key in enumerate(evaluated.keys)}
        updates, found = [], []
        query = {f"{MARK}.key": {"$in": list(places)}}
        for doc in samples.find(query, _projection(fields.values()), batch_size=_BATCH):
            sides = [list(_things(doc, fields[name], evaluated, taxonomy)) for name in (marks.truth, marks.predictions)]
            verdicts = _verdicts(marks.key, sides[0], sides[1], evaluated, places[doc[MARK]["key"]])
            if verdicts is None:
                skipped += 1
                continue
            updates.append(UpdateOne({"_id": doc["_id"]}, {"$set": verdicts.values}))
            found += verdicts.found
        _register(db, dataset, marks, evaluated, found)
        for start in range(0, len(updates), _BATCH):
            samples.bulk_write(updates[start : start + _BATCH], ordered=False)
        db.parts(dataset)  # read now, so that the next plan need not
    if skipped:
        ctx.log(f"{skipped} images were changed in FiftyOne after they were predicted: their labels have no marks")


def _register(db: Database, name: str, marks: Marks, evaluated: Evaluated, found: Sequence[Found]) -> None:
    layout = db.layout(name)
    fields = [_main_field(layout.family_fields(one), one) for one in (marks.truth, marks.predictions)]
    register_run(db.dataset(name), marks.key, fields[0], fields[1], evaluated, found)


def _main_field(families: Mapping[str, str], label_field: str) -> str:
    return label_field if label_field in families.values() or not families else next(iter(families.values()))


def _projection(fields: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """Without the masks themselves."""
    wanted = {f"{MARK}.key": 1, "metadata": 1}
    for families in fields:
        for family, at in families.items():
            wanted |= {f"{at}.{family}.{key}": 1 for key in _SHAPE_KEYS}
            wanted[f"{at}._cls"] = 1
    return wanted


def _things(
    doc: Mapping[str, Any], families: Mapping[str, str], evaluated: Evaluated, taxonomy: ResolvedTaxonomy | None
) -> Iterator[_Object]:
    """Those that the evaluation saw: objects, or the classes of the image, without what the taxonomy drops and
    without the background."""
    for thing in _objects(doc, families, evaluated.task):
        name = thing.label if taxonomy is None else class_through(thing.label, taxonomy, evaluated.task)
        if name is not None and (evaluated.task == "classify" or not is_background(name, evaluated.classes)):
            yield thing


def _objects(doc: Mapping[str, Any], families: Mapping[str, str], task: str) -> Iterator[_Object]:
    """The objects of a label field in the order in which the evaluation saw them."""
    for family in FAMILIES:
        if family not in families:
            continue
        at = families[family]
        owners: dict[object, int] = {}
        found: list[_Object] = []
        for number, entry in enumerate(label_docs(doc.get(at))):
            labels = docs_to_labels([entry], (1, 1))
            if not labels or not counts_in(labels[0], task):
                continue
            place, owner = f"{at}.{family}.{number}", entry.get("part_of")
            if owner is not None and owner in owners:
                first = found[owners[owner]]
                found[owners[owner]] = _Object((*first.places, place), first.id, first.label)
                continue
            if owner is not None:
                owners[owner] = len(found)
            found.append(_Object((place,), str(entry["_id"]), labels[0].label))
        yield from found


def _verdicts(
    key: str, truth: Sequence[_Object], predictions: Sequence[_Object], evaluated: Evaluated, place: int
) -> _Verdicts | None:
    """None: these are not the labels that were evaluated."""
    verdicts = _Verdicts(key)
    labels = [[label for label in side.labels if counts_in(label, evaluated.task)] for side in evaluated.pairs[place]]
    if [len(truth), len(predictions)] != [len(side) for side in labels]:
        return None
    if evaluated.tags is not None:
        _judge_tags(verdicts, truth, predictions, labels)
    elif evaluated.images:
        _judge_objects(verdicts, truth, predictions, evaluated, place)
    elif evaluated.pixels is not None:
        _judge_regions(verdicts, truth, predictions, labels, evaluated, place)
    return verdicts


def _judge_objects(
    verdicts: _Verdicts, truth: Sequence[_Object], predictions: Sequence[_Object], evaluated: Evaluated, place: int
) -> None:
    """A pair of different classes is a miss and an invention. Predictions below the confidence get no verdict."""
    image, found, classes = evaluated.images[place], evaluated.matches[place], evaluated.classes
    right = 0
    for t, p, iou in found.pairs:
        drawn, predicted = image.truth[t], image.predictions[p]
        same = drawn.class_index == predicted.class_index
        right += same
        verdicts.mark(truth[t], "tp" if same else "fn", predictions[p].id, iou)
        verdicts.mark(predictions[p], "tp" if same else "fp", truth[t].id, iou)
        names = classes[drawn.class_index], classes[predicted.class_index]
        verdicts.found.append(Found(*names, iou, predicted.score, truth[t].id, predictions[p].id))
    for t in found.missed:
        verdicts.mark(truth[t], "fn")
        verdicts.found.append(Found(classes[image.truth[t].class_index], None, None, None, truth[t].id, None))
    for p in found.invented:
        predicted = image.predictions[p]
        verdicts.mark(predictions[p], "fp")
        name = classes[predicted.class_index]
        verdicts.found.append(Found(None, name, None, predicted.score, None, predictions[p].id))
    wrong = len(found.pairs) - right
    verdicts.count(tp=right, fp=len(found.invented) + wrong, fn=len(found.missed) + wrong)


def _judge_tags(
    verdicts: _Verdicts, truth: Sequence[_Object], predictions: Sequence[_Object], labels: Sequence[Sequence[AnyLabel]]
) -> None:
    """The most certain class of the image counts."""
    drawn = [label.label for label in labels[0]]
    first = max(range(len(labels[1])), key=lambda p: labels[1][p].score or 0.0, default=None)
    name = labels[1][first].label if first is not None else None
    right = name in drawn
    for t, label in enumerate(drawn):
        verdicts.mark(truth[t], "tp" if label == name else "fn")
    if first is not None:
        verdicts.mark(predictions[first], "tp" if right else "fp")
    # FiftyOne keeps for classifications whether the sample is right.
    verdicts.values[verdicts.key] = right
    held = drawn.index(name) if right and name is not None else 0
    score = labels[1][first].score if first is not None else None
    ids = truth[held].id, predictions[first].id if first is not None else None
    verdicts.found.append(Found(drawn[held], name, None, score, *ids))


def _judge_regions(
    verdicts: _Verdicts,
    truth: Sequence[_Object],
    predictions: Sequence[_Object],
    labels: Sequence[Sequence[AnyLabel]],
    evaluated: Evaluated,
    place: int,
) -> None:
    """A region is right when at least half of its pixels have its class on the other side."""
    assert evaluated.pixels is not None
    drawn, found = evaluated.pairs[place]
    maps = predicted_pixels(found, evaluated.classes, 0.0), pixel_classes(drawn, evaluated.classes)
    for side, (things, wrong) in enumerate(((truth, "fn"), (predictions, "fp"))):
        for thing, label in zip(things, labels[side], strict=True):
            window = label_window(label, drawn.size_wh)
            if window is None or label.crowd:
                continue
            bitmap, left, top = window
            there = maps[side][top : top + bitmap.shape[0], left : left + bitmap.shape[1]][bitmap]
            share = float(np.mean(there == evaluated.classes.index(label.label) + 1)) if there.size else 0.0
            verdicts.mark(thing, "tp" if share >= 0.5 else wrong, iou=share)
    counts = evaluated.pixels.counts[place].astype(float)
    right, all_drawn, all_predicted = counts[:, 1:].sum(axis=1)
    accurate = counts[0, 0] / counts[1, 0] if evaluated.pixels.overlapping else counts[0].sum() / counts[1].sum()
    verdicts.count(
        accuracy=float(accurate),
        precision=float(right / all_predicted) if all_predicted else 0.0,
        recall=float(right / all_drawn) if all_drawn else 0.0,
    )
