"""Predictions and their evaluation in a FiftyOne dataset. Slow: starts MongoDB and imports FiftyOne."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.formats.samples import save_samples
from specrun.kinds.datasets import Dataset, DatasetSpec
from specrun.kinds.evaluations import Evaluation, EvaluationSpec
from specrun.kinds.predictions import Prediction, PredictionSpec
from specrun.model.address import parse_address
from specrun.model.artifact import Artifact
from specrun.model.digest import file_digest
from specrun.model.labels import AnyLabel, Mask, Part, Polygon, Sample
from specrun.model.work import Made
from tests.support.context import make_context

pytestmark = pytest.mark.slow
pytest.importorskip("fiftyone")

_NAME = "predicted.tiles"


class _Predictor:
    """Finds the square of `a` as it is and, on every image, one more at the bottom."""

    classes = ("small", "large")

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        for sample in samples:
            bitmap = np.ones((4, 4), dtype=bool)
            found = [Mask(label="large", score=0.9, bitmap=bitmap, left=20, top=20)]
            if sample.name == "a.png":
                found.insert(0, Mask(label="small", score=0.95, bitmap=bitmap, left=2, top=2))
            yield sample, tuple(found)


def _source(tmp_path: Path) -> Made:
    folder = tmp_path / "outputs" / "sources" / "tiles"
    folder.mkdir(parents=True)
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
            )
        )
    save_samples(folder / "samples.jsonl", samples, tmp_path)
    facts = {"images": 3, "classes": ["small", "large"], "labels": {"small": 3}, "splits": {"val": 2, "train": 1}}
    return Made(parse_address("sources.tiles"), "sources.annotations", folder, "d", facts)


def _made(context: Any, kind: str, outputs: Any) -> Made:
    """What the executor would hand to a consumer, without publishing."""
    facts, parts = dict(outputs.facts), dict(outputs.parts)
    return Made(context.address, kind, context.staging, "d", facts, parts, outputs.artifacts)


def _predict(tmp_path: Path, dataset: Made, model: Made, **overrides: Any) -> tuple[Made, Any]:
    context = make_context(tmp_path, "predictions.p", made={"model": [model], "on": [dataset]}, **overrides)
    spec = PredictionSpec(model="models.m", on="datasets.tiles", split="val", label_field="found", threshold=0.01)
    outputs = Prediction().run(spec, context)
    return _made(context, "predictions.prediction", outputs), outputs


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Made, Made]:
    """The folder, the dataset node as made, and a model that answers by rule."""
    monkeypatch.setattr("specrun.training.predictor.open_predictor", lambda *arguments: _Predictor())
    context = make_context(tmp_path, "datasets.tiles", made={"source": [_source(tmp_path)]})
    spec = DatasetSpec.model_validate({"from": "sources.tiles", "name": _NAME})
    dataset = _made(context, "datasets.dataset", Dataset().run(spec, context))
    folder = tmp_path / "outputs" / "models" / "m" / "weights"
    folder.mkdir(parents=True)
    (folder / "best.pt").write_bytes(b"weights")
    facts = {"task": "segment", "classes": ["small", "large"], "imgsz": 64}
    artifacts = (Artifact("best", "checkpoint", "weights/best.pt"),)
    model = Made(parse_address("models.m"), "models.ultralytics", folder.parent, "d", facts, {}, artifacts)
    return tmp_path, dataset, model


def test_predictions_and_verdicts_lie_in_the_dataset_and_make_nothing_stale(project: tuple[Path, Made, Made]) -> None:
    from specrun.clients.fiftyone import database

    tmp_path, dataset, model = project
    context = make_context(tmp_path, "evaluations.e")
    with database(context) as db:
        before = db.parts(_NAME)
        predictions, outputs = _predict(tmp_path, dataset, model)
        assert outputs.observation == {"labels": "present"}
        labels = {s.name: [(x.label, x.score) for x in s.labels] for s in db.samples(_NAME, "found")}
        assert labels == {"a.png": [("small", 0.95), ("large", 0.9)], "b.png": [("large", 0.9)], "c.png": []}

        context = make_context(tmp_path, "evaluations.e", made={"predictions": [predictions], "truth": [dataset]})
        result = Evaluation().run(EvaluationSpec(predictions=["p"], metrics=["mask_map", "confusion"]), context)
        assert (result.facts["map50"], result.facts["images"]) == (pytest.approx(0.504950), 2)

        found = db.dataset(_NAME)
        assert found.list_evaluations() == ["eval_e"]
        rows = {s.filepath.rsplit("/", 1)[-1]: (s.eval_e_tp, s.eval_e_fp, s.eval_e_fn) for s in found}
        # The extra squares are less certain than the threshold of the best F1, so they are no mistakes.
        assert rows == {"a.png": (1, 0, 0), "b.png": (0, 0, 1), "c.png": (None, None, None)}
        sample = found.match({"filepath": {"$regex": "a.png"}}).first()
        (truth,) = sample.ground_truth.polylines
        assert (truth.eval_e, truth.eval_e_iou) == ("tp", 1.0)
        assert truth.eval_e_id == sample.found.detections[0].id

        after = db.parts(_NAME)
        assert {name: after[name] for name in before} == before


def test_images_that_left_the_split_lose_their_predictions(project: tuple[Path, Made, Made]) -> None:
    from specrun.clients.fiftyone import database

    tmp_path, dataset, model = project
    with database(make_context(tmp_path, "evaluations.e")) as db:
        first, _ = _predict(tmp_path, dataset, model)
        samples = db.mongo[db.layout(_NAME).collection]
        samples.update_one({"filepath": {"$regex": "b.png"}}, {"$set": {"tags": ["train"]}})
        previous = tmp_path / "previous"
        first.folder.rename(previous)
        _predict(tmp_path, dataset, model, previous=previous)
        assert {s.name: len(s.labels) for s in db.samples(_NAME, "found")} == {"a.png": 2, "b.png": 0, "c.png": 0}


def test_a_label_field_that_somebody_deleted_is_noticed(project: tuple[Path, Made, Made]) -> None:
    from specrun.clients.fiftyone import database

    tmp_path, dataset, model = project
    _, outputs = _predict(tmp_path, dataset, model)
    context = make_context(tmp_path, "predictions.p")
    look = SimpleNamespace(
        record=SimpleNamespace(facts=outputs.facts, observation=outputs.observation),
        settings=context.settings,
        state_dir=tmp_path / ".specrun",
        project_dir=tmp_path,
    )
    spec = PredictionSpec(model="models.m", on="datasets.tiles")
    assert asyncio.run(Prediction().observe(spec, look)).value == outputs.observation

    with database(context) as db:
        db.dataset(_NAME).delete_sample_field("found")
    seen = asyncio.run(Prediction().observe(spec, look))
    assert seen.value != outputs.observation
    assert seen.differences == ("the label field found is gone from FiftyOne",)
