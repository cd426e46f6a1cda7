"""Prediction on the CPU, beside Ultralytics' own predictor on the same images, with the same weights, in one process.

    python tests/bench/bench_prediction.py [WEIGHTS.pt] [--images 320] [--size 128] [--rounds 5]

Without weights a small model is trained on coins first, since masks take time only where something is found.
Both find masks in the resolution of the image at a confidence of 0.25. Ultralytics walks through its results and
keeps nothing; specrun's case is the whole node: labels as JSON lines, and where it says so class masks and COCO.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from specrun.formats.samples import save_samples
from specrun.kinds.predictions import OutputsSpec, Prediction, PredictionSpec
from specrun.model.address import parse_address
from specrun.model.artifact import Artifact
from specrun.model.work import Made
from specrun.training.ultralytics.environment import load_ultralytics
from tests.bench.measure import medians_s, show
from tests.support.coins import CLASSES, write_samples, write_yolo_export
from tests.support.context import make_context

_THREADS = 2


def _train(folder: Path, library: Any, size: int) -> Path:
    data = write_yolo_export(folder / "export", train=64, val=16, size=size)
    model = library.YOLO("yolo11n-seg.yaml")
    options = {"epochs": 25, "imgsz": size, "batch": 8, "workers": 0, "device": "cpu", "plots": False}
    model.train(data=str(data / "data.yaml"), project=str(folder / "train"), verbose=False, **options)
    return Path(model.trainer.best)


def _model(folder: Path, weights: Path, size: int) -> Made:
    place = folder / "outputs" / "models" / "m"
    (place / "weights").mkdir(parents=True)
    shutil.copyfile(weights, place / "weights" / "best.pt")
    classes = ", ".join(f'"{name}"' for name in CLASSES)
    described = f'{{"kind": "ultralytics", "task": "segment", "classes": [{classes}], "imgsz": {size}}}'
    (place / "model.json").write_text(described)
    facts = {"task": "segment", "classes": list(CLASSES), "imgsz": size}
    artifacts = (Artifact("best", "checkpoint", "weights/best.pt"),)
    return Made(parse_address("models.m"), "models.ultralytics", place, "d", facts, {}, artifacts)


def _ours(folder: Path, source: Made, model: Made, outputs: OutputsSpec) -> None:
    context = make_context(folder, "predictions.p", made={"model": [model], "on": [source]}, cpus=_THREADS)
    shutil.rmtree(context.staging)
    context.staging.mkdir(parents=True)
    found = Prediction().run(PredictionSpec(model="models.m", on="sources.tiles", outputs=outputs), context)
    assert found.facts["labels"]


def _theirs(library: Any, weights: Path, images: Path, size: int, *, native: bool) -> None:
    options = {"imgsz": size, "conf": 0.25, "batch": 8, "device": "cpu", "verbose": False, "save": False}
    model = library.YOLO(str(weights))
    for result in model.predict(str(images), stream=True, retina_masks=native, **options):
        if result.masks is not None:
            result.masks.data.cpu().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        library = load_ultralytics(folder / "library", folder / "cache", _THREADS)
        weights = given.weights or _train(folder, library, given.size)
        samples = write_samples(folder / "media", given.images, size=given.size)
        place = folder / "outputs" / "sources" / "tiles"
        place.mkdir(parents=True)
        save_samples(place / "samples.jsonl", samples, folder)
        source = Made(parse_address("sources.tiles"), "sources.images", place, "d")
        model = _model(folder, weights, given.size)
        bare, files = OutputsSpec(masks=False, coco=False), OutputsSpec()
        cases = {
            "Ultralytics, masks in the resolution of the image": lambda: _theirs(
                library, weights, folder / "media", given.size, native=True
            ),
            "Ultralytics, masks in the resolution of the model": lambda: _theirs(
                library, weights, folder / "media", given.size, native=False
            ),
            "specrun, the node without files": lambda: _ours(folder, source, model, bare),
            "specrun, the node with class masks and COCO": lambda: _ours(folder, source, model, files),
        }
        show(f"{given.images} images", medians_s(cases, rounds=given.rounds), "not slower than Ultralytics")


if __name__ == "__main__":
    main()
