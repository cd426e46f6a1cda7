"""Run as a program, since FiftyOne binds a process to one database:

    python evaluated_dataset.py FOLDER

Makes a dataset of three images with outlines and classes, holds predictions of every sort against them, and prints
as JSON what FiftyOne keeps of the evaluations.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from specrun.clients.fiftyone import Database, database
from specrun.clients.fiftyone.label_writer import write_labels
from specrun.formats.samples import save_samples
from specrun.kinds.datasets.dataset import Dataset
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.kinds.evaluations.evaluation import Evaluation, EvaluationSpec
from specrun.model.address import parse_address
from specrun.model.digest import file_digest
from specrun.model.labels import AnyLabel, Mask, Part, Polygon, Sample, Tag
from specrun.model.work import Made
from tests.support.context import make_context

NAME = "evaluated.tiles"
_TAXONOMY = {
    "classes": ["thing"],
    "map": {"small": "thing", "large": "thing"},
    "drop": ["sand", "background"],
    "unmapped": "error",
}


def _outline(name: str, x: float, y: float) -> Polygon:
    ring = np.array([[x, y], [x + 4, y], [x + 4, y + 4], [x, y + 4]], dtype=float)
    return Polygon(label=name, parts=(Part(ring),))


def _square(name: str, x: int, y: int, score: float = 0.9) -> Mask:
    return Mask(label=name, score=score, bitmap=np.ones((4, 4), dtype=bool), left=x, top=y)


_TRUTH: dict[str, tuple[AnyLabel, ...]] = {
    "a.png": (_outline("sand", 24, 24), _outline("small", 2, 2), Tag(label="sunny")),
    "b.png": (_outline("large", 10, 10), Tag(label="cloudy")),
    "c.png": (_outline("small", 20, 20), _outline("background", 2, 2), Tag(label="sunny")),
}
_OBJECTS = {
    "a.png": (_square("small", 2, 2),),
    "b.png": (_square("small", 10, 10),),
    "c.png": (_square("large", 2, 20),),
}
_TAGS = {
    "a.png": (Tag(label="sunny", score=0.8), Tag(label="cloudy", score=0.2)),
    "b.png": (Tag(label="sunny", score=0.6),),
    "c.png": (),
}


def _dataset(folder: Path) -> tuple[Made, list[Sample]]:
    source = folder / "outputs" / "sources" / "tiles"
    source.mkdir(parents=True)
    samples = []
    for number, (name, labels) in enumerate(_TRUTH.items()):
        path = folder / "media" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), number, dtype=np.uint8)).save(path)
        described = {"key": f"tiles/{name}", "media": path, "name": name, "digest": file_digest(path)}
        samples.append(Sample(**described, size_wh=(32, 32), labels=labels))
    save_samples(source / "samples.jsonl", samples, folder)
    facts = {
        "images": 3,
        "classes": ["small", "large", "sand", "background", "sunny", "cloudy"],
        "labels": {},
        "splits": {},
    }
    made = Made(parse_address("sources.tiles"), "sources.annotations", source, "d", facts)
    context = make_context(folder, "datasets.tiles", made={"source": [made]})
    outputs = Dataset().run(DatasetSpec.model_validate({"from": "sources.tiles", "name": NAME}), context)
    facts = dict(outputs.facts)
    return Made(context.address, "datasets.dataset", context.staging, "d", facts, dict(outputs.parts)), samples


def _predicted(
    db: Database, folder: Path, samples: list[Sample], name: str, labels: dict[str, Any], **facts: Any
) -> Made:
    place = folder / "outputs" / "predictions" / name
    place.mkdir(parents=True)
    found = [replace(sample, labels=labels[sample.name]) for sample in samples]
    save_samples(place / "predictions.jsonl", found, folder)
    write_labels(db, NAME, name, ((sample.key, sample.labels) for sample in found))
    described = {"classes": ["small", "large"], "label_field": name, "threshold": 0.01, **facts}
    return Made(parse_address(f"predictions.{name}"), "predictions.prediction", place, "d", described)


def _evaluate(folder: Path, name: str, predictions: Made, dataset: Made, **spec: Any) -> None:
    made = {"predictions": [predictions], "truth": [dataset]}
    declared = {"taxonomies.things": {**_TAXONOMY, "colors": {}}}
    context = make_context(folder, f"evaluations.{name}", made=made, declarations=declared)
    wanted = EvaluationSpec(predictions=[predictions.address.name], **spec)
    Evaluation().run(wanted, context)


def _results(db: Database, key: str) -> Any:
    dataset = db.dataset(NAME)
    dataset.clear_cache()
    return dataset.load_evaluation_results(key, cache=False)


def _marks(db: Database, label_field: str, key: str) -> dict[str, list[Any]]:
    """Image → its labels' verdicts in their order, as they lie in the database."""
    layout = db.layout(NAME)
    found: dict[str, list[Any]] = {}
    for doc in db.mongo[layout.collection].find({}):
        verdicts = found.setdefault(Path(doc["filepath"]).name, [])
        for family, at in layout.family_fields(label_field).items():
            verdicts += [entry.get(key) for entry in (doc.get(at) or {}).get(family) or ()]
    return found


def main(folder: Path) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    with database(make_context(folder, "evaluations.e")) as db:
        dataset, samples = _dataset(folder)
        before = db.parts(NAME)
        objects = _predicted(db, folder, samples, "objects", _OBJECTS, task="segment")
        _evaluate(folder, "objects", objects, dataset)
        results = _results(db, "eval_objects")
        seen["objects"] = {
            "type": type(results).__name__,
            "map": results.mAP(),
            "confusion": results.confusion_matrix(classes=["small", "large"]).tolist(),
            "marks": _marks(db, "ground_truth", "eval_objects"),
        }
        _evaluate(folder, "mapped", objects, dataset, taxonomy="things")
        seen["mapped"] = {"map": _results(db, "eval_mapped").mAP(), "marks": _marks(db, "objects", "eval_mapped")}
        pixels = _predicted(db, folder, samples, "pixels", _OBJECTS, task="semantic")
        _evaluate(folder, "pixels", pixels, dataset)
        results = _results(db, "eval_pixels")
        accuracy = {Path(s.filepath).name: s.eval_pixels_accuracy for s in db.dataset(NAME)}
        seen["pixels"] = {
            "type": type(results).__name__,
            "confusion": results.pixel_confusion_matrix.tolist(),
            "marks": _marks(db, "pixels", "eval_pixels"),
            "accuracy": accuracy,
        }
        tags = _predicted(db, folder, samples, "weather", _TAGS, task="classify", classes=["sunny", "cloudy"])
        _evaluate(folder, "tags", tags, dataset)
        results = _results(db, "eval_tags")
        seen["tags"] = {
            "type": type(results).__name__,
            "accuracy": results.metrics()["accuracy"],
            "right": {Path(s.filepath).name: s.eval_tags for s in db.dataset(NAME)},
        }
        _evaluate(folder, "tags", objects, dataset)  # the same key, another sort of run
        seen["replaced"] = type(_results(db, "eval_tags")).__name__
        after = db.parts(NAME)
        seen["moved"] = [name for name in before if before[name] != after[name]]
        seen["runs"] = db.dataset(NAME).list_evaluations()
    return seen


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(Path(sys.argv[1]))))
