"""Prediction on the CPU, beside Ultralytics' own predictor on the same images, with the same weights, in one process.

    python -m tests.bench.bench_prediction [WEIGHTS.pt] [--images 320] [--size 128] [--rounds 5]

Without weights a small model is trained on coins first, since masks take time only where something is found.
Both find masks in the resolution of the image at a confidence of 0.25. Ultralytics walks through its results and
keeps nothing; specrun's case is the whole node: labels as JSON lines, and where it says so class masks and COCO.
Processor time stands beside wall time: on a machine that others use it is the one to compare.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from specrun.formats.samples import save_samples
from specrun.kinds.predictions.prediction import OutputsSpec, Prediction, PredictionSpec
from specrun.model.address import parse_address
from specrun.model.artifact import Artifact
from specrun.model.work import Made
from specrun.training.ultralytics.environment import load_ultralytics
from tests.bench.measure import show
from tests.support.coins import CLASSES, write_samples, write_yolo_export
from tests.support.context import make_context


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


def _ours(folder: Path, source: Made, model: Made, outputs: OutputsSpec, threads: int) -> None:
    context = make_context(folder, "predictions.p", made={"model": [model], "on": [source]}, cpus=threads)
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


def _medians_s(cases: Mapping[str, Callable[[], None]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Wall and processor time by name, in alternating rounds after one that is not measured."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            started = time.perf_counter(), time.process_time()
            case()
            if number:
                taken[name].append((time.perf_counter() - started[0], time.process_time() - started[1]))
    wall, processor = ({name: statistics.median(one[i] for one in t) for name, t in taken.items()} for i in (0, 1))
    return wall, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        library = load_ultralytics(folder / "library", folder / "cache", given.threads)
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
            "specrun, the node without files": lambda: _ours(folder, source, model, bare, given.threads),
            "specrun, the node with class masks and COCO": lambda: _ours(folder, source, model, files, given.threads),
        }
        wall_s, processor_s = _medians_s(cases, given.rounds)
        show(f"{given.images} images, wall time", wall_s, "not slower than Ultralytics")
        show(f"{given.images} images, processor time", processor_s, "not more than Ultralytics")


if __name__ == "__main__":
    main()
