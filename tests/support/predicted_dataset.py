"""Run as a program, since FiftyOne binds a process to one database:

    python predicted_dataset.py FOLDER

Makes a dataset of three images, predicts on two, evaluates, moves one to another split, predicts again,
deletes the label field, renames fields, mends labels; prints as JSON what was seen on the way.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

import specrun.training.predictors
from specrun.clients.fiftyone import Database, database
from specrun.errors import NodeError
from specrun.formats.samples import load_samples, save_samples
from specrun.kinds.datasets.dataset import Dataset
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.kinds.evaluations.evaluation import Evaluation, EvaluationSpec
from specrun.kinds.predictions.prediction import Prediction, PredictionSpec
from specrun.model.address import parse_address
from specrun.model.artifact import Artifact
from specrun.model.digest import file_digest
from specrun.model.labels import AnyLabel, Mask, Part, Polygon, Sample
from specrun.model.work import Made
from specrun.store.manifest import write_manifest
from tests.support.context import DictMemory, make_context
from tests.support.outputs import make_manifest, make_record

_NAME = "predicted.tiles"
_MEMORY = DictMemory()


class _Predictor:
    """Finds the square of `a` as it is and, on every image, one more at the bottom, of which each model is
    certain in its own way."""

    classes = ("small", "large")

    def __init__(self, model: Made) -> None:
        self._score = 0.9 if model.address.name == "m" else 0.8

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        for sample in samples:
            bitmap = np.ones((4, 4), dtype=bool)
            found = [Mask(label="large", score=self._score, bitmap=bitmap, left=20, top=20)]
            if sample.name == "a.png":
                found.insert(0, Mask(label="small", score=0.95, bitmap=bitmap, left=2, top=2))
            yield sample, tuple(found)


def _source(tmp_path: Path, **fields: Any) -> Made:
    folder = tmp_path / "outputs" / "sources" / "tiles"
    folder.mkdir(parents=True, exist_ok=True)
    ring = np.array([[2, 2], [6, 2], [6, 6], [2, 6]], dtype=float)
    samples = []
    for number, (name, split) in enumerate([("a.png", "val"), ("b.png", "val"), ("c.png", "train")]):
        path = tmp_path / "media" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), number, dtype=np.uint8)).save(path)
        labels = (Polygon(label="small", parts=(Part(ring),)),)
        samples.append(
            Sample(
                key=f"tiles/{name}",
                media=path,
                name=name,
                digest=file_digest(path),
                size_wh=(32, 32),
                split=split,
                labels=labels,
                fields=fields,
            )
        )
    save_samples(folder / "samples.jsonl", samples, tmp_path)
    facts = {"images": 3, "classes": ["small", "large"], "labels": {"small": 3}, "splits": {"val": 2, "train": 1}}
    return Made(parse_address("sources.tiles"), "sources.annotations", folder, "d", facts)


def _made(context: Any, kind: str, outputs: Any) -> Made:
    """What the executor would hand to a consumer, without publishing."""
    facts, parts = dict(outputs.facts), dict(outputs.parts)
    return Made(context.address, kind, context.staging, "d", facts, parts, outputs.artifacts)


def _predict(folder: Path, dataset: Made, model: Made, **overrides: Any) -> tuple[Made, Any]:
    context = make_context(
        folder, "predictions.p", made={"model": [model], "on": [dataset]}, memory=_MEMORY, **overrides
    )
    spec = PredictionSpec(model="models.m", on="datasets.tiles", split="val", label_field="found", threshold=0.01)
    outputs = Prediction().run(spec, context)
    return _made(context, "predictions.prediction", outputs), outputs


def _predict_view(folder: Path, db: Database, dataset: Made, model: Made) -> dict[str, Any]:
    """On a saved view, with its own field; and what is said of a view that is not there."""
    saved = db.dataset(_NAME)
    saved.save_view("only_c", saved.match({"filepath": {"$regex": "c.png"}}))

    made = {"model": [model], "on": [dataset]}

    def predict(view: str) -> Any:
        context = make_context(folder, "predictions.v", made=made, memory=_MEMORY)
        return Prediction().run(PredictionSpec(model="models.m", on="datasets.tiles", view=view), context)

    images = predict("only_c").facts["images"]
    labels = {sample.name: len(sample.labels) for sample in db.samples(_NAME, "predictions_v")}
    try:
        predict("only_d")
    except NodeError as error:
        return {"images": images, "labels": labels, "missing": str(error)}
    raise AssertionError("a view that is not there was taken")


def _refused(folder: Path, dataset: Made, model: Made) -> list[str]:
    """What is said of fields that hold the labels of others."""
    said = []
    for field in ("ground_truth", "found"):
        context = make_context(folder, "predictions.other", made={"model": [model], "on": [dataset]})
        spec = PredictionSpec(model="models.m", on="datasets.tiles", label_field=field)
        try:
            Prediction().run(spec, context)
        except NodeError as error:
            said.append(str(error))
    return said


def _renamed_fields(folder: Path, db: Database, dataset: Made, model: Made) -> dict[str, Any]:
    """One node writes into one field after another; people touch some of them in between."""
    said: dict[str, list[str]] = {}

    def predict(field: str) -> Made:
        context = make_context(folder, "predictions.r", made={"model": [model], "on": [dataset]}, memory=_MEMORY)
        spec = PredictionSpec(model="models.m", on="datasets.tiles", split="val", label_field=field, threshold=0.01)
        outputs = Prediction().run(spec, context)
        said[field] = [note for note in outputs.notes if "wrote before" in note]
        return _made(context, "predictions.prediction", outputs)

    def fields() -> list[str]:
        return sorted(name for name in db.layout(_NAME).label_fields if name.startswith("renamed"))

    seen: dict[str, Any] = {}
    samples = db.mongo[db.layout(_NAME).collection]
    _evaluate(folder, predict("renamed_1"), dataset)
    _evaluate(folder, predict("renamed_2"), dataset)  # its run in FiftyOne named the field that is gone
    seen["untouched"] = [fields(), said["renamed_2"], "renamed_1" in samples.find_one({})]
    samples.update_one({"filepath": {"$regex": "a.png"}}, {"$set": {"renamed_2.detections.0.label": "large"}})
    predict("renamed_3")
    predict("renamed_3")
    seen["changed"] = [fields(), said["renamed_3"]]
    samples.update_one({"filepath": {"$regex": "a.png"}}, {"$set": {"renamed_3.detections.0.tags": ["look"]}})
    predict("renamed_4")
    seen["tagged"] = [fields(), said["renamed_4"]]
    # By FiftyOne's own evaluation, as a person would.
    db.dataset(_NAME).evaluate_detections("renamed_4", gt_field="renamed_3", eval_key="mine")
    predict("renamed_5")
    seen["evaluated"] = [fields(), said["renamed_5"]]
    return seen


def _taken_over(folder: Path, db: Database, dataset: Made, model: Made) -> dict[str, Any]:
    """A field changes hands: a person deletes it, and another node writes one of that name. Others bear no name."""
    samples = db.mongo[db.layout(_NAME).collection]

    def predict(node: str, field: str, **overrides: Any) -> Any:
        made = {"model": [model], "on": [dataset]}
        context = make_context(folder, f"predictions.{node}", made=made, memory=_MEMORY, **overrides)
        spec = PredictionSpec(model="models.m", on="datasets.tiles", split="val", label_field=field)
        return Prediction().run(spec, context)

    predict("first", "taken")
    samples.update_one({"filepath": {"$regex": "a.png"}}, {"$set": {"taken.detections.0.tags": ["look"]}})
    predict("first", "other")
    db.dataset(_NAME).delete_sample_field("taken")
    predict("second", "taken")
    seen: dict[str, Any] = {"said": list(predict("first", "other").notes)}
    seen["labels"] = {s.name: len(s.labels) for s in db.samples(_NAME, "taken")} if _has(db, "taken") else None
    try:
        predict("first", "taken")
    except NodeError as error:
        seen["refused"] = str(error)
    predict("third", "unsigned")
    previous = folder / "previous_of_fourth"
    previous.mkdir()
    manifest = make_manifest(previous, make_record("predictions.fourth"))
    write_manifest(previous, replace(manifest, facts=predict("fourth", "proven").facts))
    db.mongo["datasets"].update_one({"name": _NAME}, {"$unset": {"info.specrun.writers": ""}})  # as before they signed
    seen["unsigned"] = [list(predict("third", "signed").notes), _has(db, "unsigned")]
    seen["proven"] = [list(predict("fourth", "signed_too", previous=previous).notes), _has(db, "proven")]
    return seen


def _has(db: Database, field: str) -> bool:
    return field in db.layout(_NAME).label_fields


def _mended(folder: Path, db: Database, dataset: Made, model: Made) -> dict[str, Any]:
    """People change labels in the field that a node writes, and then another model answers."""
    samples, models = db.mongo[db.layout(_NAME).collection], {"m": model, "n": _model(folder, "n")}
    said: list[list[str]] = []
    in_files: list[list[float | None]] = []

    def change(image: str, **values: Any) -> None:
        samples.update_one({"filepath": {"$regex": image}}, {"$set": {f"edited.{k}": v for k, v in values.items()}})

    def predict(name: str, field: str = "edited") -> dict[str, list[tuple[str, float | None]]]:
        made = {"model": [models[name]], "on": [dataset]}
        context = make_context(folder, "predictions.e", made=made, memory=_MEMORY)
        outputs = Prediction().run(PredictionSpec(model="models.m", on="datasets.tiles", label_field=field), context)
        said.append([note for note in outputs.notes if "edited" in note])
        kept = load_samples(context.staging / "predictions.jsonl", folder)
        in_files.append([sample.labels[-1].score for sample in kept])
        return {s.name: [(label.label, label.score) for label in s.labels] for s in db.samples(_NAME, field)}

    seen: dict[str, Any] = {"before": predict("m")}
    for sample in db.dataset(_NAME):  # as a person would, who also looks at images without a change
        if sample.filepath.endswith("a.png"):
            sample["edited"].detections[0].label = "large"
        sample["edited"] = sample["edited"].copy()
        sample.save()
    seen["one"] = predict("n")
    change("b.png", detections=[])
    seen["two"] = predict("m")
    source = _source(folder, year=2021)
    _import(folder, source)  # what the dataset notes of a sample is written anew
    seen["after_import"] = predict("n")
    change("c.png", **{"detections.0.tags": ["look"]})
    seen["tagged"] = predict("m")
    seen["elsewhere"] = predict("n", "edited_2")
    seen["fields"] = sorted(field for field in db.layout(_NAME).label_fields if field.startswith("edited"))
    db.dataset(_NAME).delete_sample_field("edited")
    seen["deleted"] = predict("m")
    return {**seen, "said": said, "in_files": in_files}


def _dataset(folder: Path) -> Made:
    return _import(folder, _source(folder))


def _import(folder: Path, source: Made) -> Made:
    context = make_context(folder, "datasets.tiles", made={"source": [source]})
    spec = DatasetSpec.model_validate({"from": "sources.tiles", "name": _NAME})
    return _made(context, "datasets.dataset", Dataset().run(spec, context))


def _model(folder: Path, name: str = "m") -> Made:
    weights = folder / "outputs" / "models" / name / "weights"
    weights.mkdir(parents=True)
    (weights / "best.pt").write_bytes(f"weights of {name}".encode())
    facts = {"task": "segment", "classes": ["small", "large"], "imgsz": 64}
    artifacts = (Artifact("best", "checkpoint", "weights/best.pt"),)
    return Made(parse_address(f"models.{name}"), "models.ultralytics", weights.parent, "d", facts, {}, artifacts)


def _labels(db: Database) -> dict[str, list[tuple[str, float | None]]]:
    return {s.name: [(label.label, label.score) for label in s.labels] for s in db.samples(_NAME, "found")}


def _verdicts(db: Database) -> dict[str, Any]:
    dataset = db.dataset(_NAME)
    sample = dataset.match({"filepath": {"$regex": "a.png"}}).first()
    (truth,) = sample.ground_truth.polylines
    return {
        "runs": dataset.list_evaluations(),
        "counts": {s.filepath.rsplit("/", 1)[-1]: (s.eval_e_tp, s.eval_e_fp, s.eval_e_fn) for s in dataset},
        "truth": (truth.eval_e, truth.eval_e_iou, truth.eval_e_id == sample.found.detections[0].id),
    }


def _observe(folder: Path, outputs: Any) -> tuple[Any, tuple[str, ...]]:
    look = SimpleNamespace(
        record=SimpleNamespace(facts=outputs.facts, observation=outputs.observation),
        settings=make_context(folder, "predictions.p").settings,
        state_dir=folder / ".specrun",
        project_dir=folder,
    )
    seen = asyncio.run(Prediction().observe(PredictionSpec(model="models.m", on="datasets.tiles"), look))
    return seen.value, seen.differences


def _evaluate(folder: Path, predictions: Made, dataset: Made) -> Any:
    made = {"predictions": [predictions], "truth": [dataset]}
    spec = EvaluationSpec(predictions=["p"], metrics=["mask_map", "confusion"])
    return Evaluation().run(spec, make_context(folder, "evaluations.e", made=made))


def main(folder: Path) -> dict[str, Any]:
    specrun.training.predictors.open_predictor = lambda model, *others: _Predictor(model)  # type: ignore[assignment]
    seen: dict[str, Any] = {}
    with database(make_context(folder, "evaluations.e")) as db:
        dataset, model = _dataset(folder), _model(folder)
        before = db.parts(_NAME)
        predictions, outputs = _predict(folder, dataset, model)
        seen["labels"], seen["observation"] = _labels(db), outputs.observation
        seen["facts"] = dict(_evaluate(folder, predictions, dataset).facts)
        _evaluate(folder, predictions, dataset)  # again: FiftyOne must let a run of the same key be replaced
        seen["verdicts"] = _verdicts(db)
        seen["refused"] = _refused(folder, dataset, model)
        after = db.parts(_NAME)
        seen["moved"] = [name for name in before if before[name] != after[name]]
        seen["observed"] = _observe(folder, outputs)
        samples = db.mongo[db.layout(_NAME).collection]
        samples.update_one({"filepath": {"$regex": "b.png"}}, {"$set": {"tags": ["train"]}})
        predictions.folder.rename(folder / "previous")
        _predict(folder, dataset, model, previous=folder / "previous")
        seen["labels_after_move"] = _labels(db)
        seen["view"] = _predict_view(folder, db, dataset, model)
        db.dataset(_NAME).delete_sample_field("found")
        seen["observed_without_field"] = _observe(folder, outputs)
        seen["renamed"] = _renamed_fields(folder, db, dataset, model)
        seen["taken_over"] = _taken_over(folder, db, dataset, model)
        seen["mended"] = _mended(folder, db, dataset, model)
    return seen


if __name__ == "__main__":
    result = main(Path(sys.argv[1]))
    print("RESULT " + json.dumps(result))
