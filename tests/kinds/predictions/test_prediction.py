"""Predictions on a source, with a model that answers by rule."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.errors import NodeError, StopRequested
from specrun.formats.rle import bitmap_to_rle, rle_to_bitmap, string_to_counts
from specrun.formats.samples import load_samples, save_samples
from specrun.kinds.predictions.coco import CocoRows, coco_annotations, window_to_counts
from specrun.kinds.predictions.images import class_mask, cutout, read_for_model
from specrun.kinds.predictions.overlay import overlay
from specrun.kinds.predictions.prediction import OutputsSpec, Prediction, PredictionSpec
from specrun.model.address import parse_address
from specrun.model.digest import file_digest
from specrun.model.labels import AnyLabel, Box, Mask, Sample
from specrun.model.work import Made
from specrun.store.manifest import collect_files
from tests.support.context import make_context
from tests.support.look import make_look

_CLASSES = ("small", "large")


class RulePredictor:
    """One mask an image, whose place depends on the first pixel; remembers what it was asked."""

    classes = _CLASSES

    def __init__(self) -> None:
        self.asked: list[str] = []

    def predict(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, tuple[AnyLabel, ...]]]:
        for sample in samples:
            self.asked.append(sample.name)
            left = int(read_for_model(sample.media)[0, 0, 0]) % 4
            bitmap = np.array([[True, True], [True, False]])
            yield sample, (Mask(label="large", score=0.9, bitmap=bitmap, left=left, top=1),)


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> RulePredictor:
    made = RulePredictor()
    monkeypatch.setattr("specrun.training.predictors.open_predictor", lambda *arguments: made)
    return made


def _picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), value, dtype=np.uint8)).save(path)


def _source(tmp_path: Path, names: Iterable[str]) -> Made:
    folder = tmp_path / "outputs" / "sources" / "tiles"
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number, name in enumerate(names):
        path = tmp_path / "media" / name
        if not path.exists():
            _picture(path, number)
        split = "val" if number % 2 else "train"
        samples.append(
            Sample(key=f"tiles/{name}", media=path, name=name, digest=file_digest(path), size_wh=(8, 6), split=split)
        )
    save_samples(folder / "samples.jsonl", samples, tmp_path)
    return Made(parse_address("sources.tiles"), "sources.images", folder, "digest")


def _model(tmp_path: Path, weights: bytes = b"weights") -> Made:
    from specrun.model.artifact import Artifact

    folder = tmp_path / "outputs" / "models" / "m"
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    (folder / "weights" / "best.pt").write_bytes(weights)
    facts = {"task": "segment", "classes": list(_CLASSES), "imgsz": 64}
    artifacts = (Artifact("best", "checkpoint", "weights/best.pt"),)
    return Made(parse_address("models.m"), "models.ultralytics", folder, "d", facts, {}, artifacts)


def _spec(**values: Any) -> PredictionSpec:
    return PredictionSpec(**{"model": "models.m", "on": "sources.tiles", **values})


def _context(tmp_path: Path, source: Made, model: Made | None = None, **overrides: Any) -> Any:
    made = {"model": [model or _model(tmp_path)], "on": [source]}
    return make_context(tmp_path, "predictions.p", made=made, **overrides)


def _publish(context: Any) -> Path:
    """What the executor does with staging."""
    if context.output.exists():
        import shutil

        shutil.rmtree(context.output)
    context.output.parent.mkdir(parents=True, exist_ok=True)
    context.staging.rename(context.output)
    return Path(context.output)


def test_every_image_has_its_labels_and_a_line_in_the_manifest(tmp_path: Path, predictor: RulePredictor) -> None:
    context = _context(tmp_path, _source(tmp_path, ["a.png", "sub/b.png"]))
    outputs = Prediction().run(_spec(), context)

    found = list(load_samples(context.staging / "predictions.jsonl", tmp_path))
    assert [sample.key for sample in found] == ["tiles/a.png", "tiles/sub/b.png"]
    assert [sample.labels[0].score for sample in found] == [0.9, 0.9]
    manifest = [json.loads(line) for line in (context.staging / "manifest.jsonl").read_text().splitlines()]
    assert manifest[1]["labels"] == {"large": 1}
    assert np.array(Image.open(context.staging / manifest[1]["files"]["mask"]))[1:3, 1:3].tolist() == [[2, 2], [2, 0]]
    assert (outputs.facts["images"], outputs.facts["predicted"], outputs.facts["labels"]) == (2, 2, {"large": 2})
    assert {path.name for path in context.staging.iterdir()} == {
        "predictions.jsonl",
        "manifest.jsonl",
        "settings.json",
        "masks",
        "coco.json",
    }


def test_only_new_and_changed_images_are_predicted_again(tmp_path: Path, predictor: RulePredictor) -> None:
    context = _context(tmp_path, _source(tmp_path, ["a.png", "b.png"]))
    Prediction().run(_spec(), context)
    previous = _publish(context)
    predictor.asked.clear()
    _picture(tmp_path / "media" / "b.png", 7)

    again = _context(tmp_path, _source(tmp_path, ["a.png", "b.png", "c.png"]), previous=previous)
    outputs = Prediction().run(_spec(), again)

    assert predictor.asked == ["b.png", "c.png"]
    assert outputs.facts["images"] == 3
    lefts = [sample.labels[0].left for sample in load_samples(again.staging / "predictions.jsonl", tmp_path)]
    assert lefts == [0, 3, 2]


@pytest.mark.parametrize("changed", ["weights", "threshold"])
def test_another_model_or_threshold_predicts_everything_again(
    tmp_path: Path, predictor: RulePredictor, changed: str
) -> None:
    source = _source(tmp_path, ["a.png"])
    context = _context(tmp_path, source)
    Prediction().run(_spec(), context)
    previous = _publish(context)
    predictor.asked.clear()

    model = _model(tmp_path, b"others" if changed == "weights" else b"weights")
    spec = _spec(threshold=0.5) if changed == "threshold" else _spec()
    Prediction().run(spec, _context(tmp_path, source, model, previous=previous))

    assert predictor.asked == ["a.png"]


def test_other_files_need_no_new_predictions(tmp_path: Path, predictor: RulePredictor) -> None:
    source = _source(tmp_path, ["a.png"])
    context = _context(tmp_path, source)
    Prediction().run(_spec(), context)
    previous = _publish(context)
    predictor.asked.clear()

    outputs = OutputsSpec(masks=False, coco=False, overlays=True, cutouts=True, yolo=True, images=True)
    again = _context(tmp_path, source, previous=previous)
    Prediction().run(_spec(outputs=outputs), again)

    assert predictor.asked == []
    published = _publish(again)
    assert (published / "images" / "a.png").resolve() == tmp_path / "media" / "a.png"
    assert "images/a.png" in {file.path for file in collect_files(published, {})}
    assert Image.open(published / "overlays" / "a.jpg").size == (32, 24)
    piece = np.array(Image.open(published / "cutouts" / "a_000.png"))
    assert piece[:, :, 3].tolist() == [[255, 255], [255, 0]]
    assert (published / "labels" / "a.txt").read_text().startswith("1 ")


def test_what_was_predicted_before_a_stop_is_used_again(tmp_path: Path, predictor: RulePredictor) -> None:
    source = _source(tmp_path, ["a.png", "b.png", "c.png"])
    answers = iter([False, True])
    with pytest.raises(StopRequested):
        Prediction().run(_spec(), _context(tmp_path, source, stop=lambda: next(answers)))
    assert predictor.asked == ["a.png", "b.png"]

    with open(_context(tmp_path, source).staging / "predicted.jsonl", "a") as file:
        file.write('{"digest": "half a li')
    predictor.asked.clear()
    outputs = Prediction().run(_spec(), _context(tmp_path, source, resumed=True))

    assert predictor.asked == ["c.png"]
    assert outputs.facts["predicted"] == 1


def test_only_the_images_of_the_split_are_predicted(tmp_path: Path, predictor: RulePredictor) -> None:
    context = _context(tmp_path, _source(tmp_path, ["a.png", "b.png", "c.png"]))
    assert Prediction().run(_spec(split="val"), context).facts["images"] == 1
    assert predictor.asked == ["b.png"]


def test_the_ground_truth_is_not_needed() -> None:
    needs = Prediction().inputs(_spec(on="datasets.reef"))
    assert [(need.role, need.parts) for need in needs] == [("model", ()), ("on", ("media", "split"))]


def test_coco_holds_the_whole_mask_the_box_and_the_score(tmp_path: Path, predictor: RulePredictor) -> None:
    context = _context(tmp_path, _source(tmp_path, ["a.png"]))
    Prediction().run(_spec(), context)
    content = json.loads((context.staging / "coco.json").read_text())
    (annotation,) = content["annotations"]
    assert (annotation["bbox"], annotation["area"], annotation["score"]) == ([0.0, 1.0, 2.0, 2.0], 3, 0.9)
    bitmap = rle_to_bitmap(string_to_counts(annotation["segmentation"]["counts"]), (8, 6))
    assert bitmap[1:3, 0:2].tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("seed", range(6))
def test_the_counts_of_a_window_are_those_of_the_whole_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    width, height = 7, 5
    left, top = int(random.integers(0, 4)), int(random.integers(0, 3)) if seed % 2 else 0
    size = (height - top if seed % 3 else 2, int(random.integers(1, width - left + 1)))
    window = random.random(size) < (1.0 if seed == 4 else 0.7)
    whole = np.zeros((height, width), dtype=bool)
    whole[top : top + size[0], left : left + size[1]] = window
    assert window_to_counts(window, left, top, (width, height)) == bitmap_to_rle(whole)


def test_the_most_certain_label_lies_on_top() -> None:
    low = Box(label="small", score=0.3, x=0, y=0, width=2, height=1)
    high = Box(label="large", score=0.8, x=0, y=0, width=1, height=1)
    assert class_mask([low, high], _CLASSES, (3, 1)).tolist() == [[2, 1, 0]]


@pytest.mark.parametrize(("left", "top"), [(-1, -1), (2, 1), (-1, 1), (7, 7), (-9, 0)])
def test_a_mask_that_reaches_beyond_the_image_is_clipped(tmp_path: Path, left: int, top: int) -> None:
    size_wh = (3, 2)
    expected = np.zeros((20, 20), dtype=np.uint16)
    expected[10 + top : 12 + top, 10 + left : 12 + left] = 1
    expected = expected[10:12, 10:13]
    mask = Mask(label=_CLASSES[0], bitmap=np.ones((2, 2), dtype=bool), left=left, top=top, score=0.9)
    assert class_mask([mask], _CLASSES, size_wh).tolist() == expected.tolist()

    rgb = np.zeros((2, 3, 3), dtype=np.uint8)
    overlay(rgb, [mask], _CLASSES)
    assert (cutout(rgb, mask) is None) == (not expected.any())

    rows = CocoRows(_CLASSES)
    sample = Sample(key="a", media=Path("/nowhere/a"), name="a", digest="a", size_wh=size_wh)
    rows.add(sample, coco_annotations(sample, [mask]))
    rows.save(tmp_path / "coco.json")
    (annotation,) = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    counts = string_to_counts(annotation["segmentation"]["counts"])
    assert rle_to_bitmap(counts, size_wh).tolist() == (expected == 1).tolist()


def test_an_image_turned_by_its_exif_is_read_upright(tmp_path: Path) -> None:
    picture = Image.fromarray(np.zeros((4, 10, 3), dtype=np.uint8))
    exif = picture.getexif()
    exif[274] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_for_model(tmp_path / "turned.jpg").shape == (10, 4, 3)


def test_tags_and_fields_narrow_the_images(tmp_path: Path, predictor: RulePredictor) -> None:
    source = _source(tmp_path, ["a.png", "b.png", "c.png"])
    samples = [
        replace(sample, tags=("v1",) if number else (), fields={"year": 2020 + number})
        for number, sample in enumerate(load_samples(source.folder / "samples.jsonl", tmp_path))
    ]
    save_samples(source.folder / "samples.jsonl", samples, tmp_path)
    spec = _spec(tags=["v1"], where=[{"field": "year", "gte": 2022}])
    Prediction().run(spec, _context(tmp_path, source))
    assert predictor.asked == ["c.png"]
    with pytest.raises(NodeError, match="no image is chosen by where") as caught:
        Prediction().run(_spec(where=[{"field": "year", "gte": 2030}]), _context(tmp_path, source))
    assert "`where`" in str(caught.value)


@pytest.mark.parametrize(
    "changed", [{"tta": ["flip"]}, {"max_count": 3}, {"tile": {"size": [64, 64]}}, {"nms": {"iou": 0.5}}]
)
def test_another_way_to_look_predicts_everything_again(
    tmp_path: Path, predictor: RulePredictor, changed: dict[str, Any]
) -> None:
    source = _source(tmp_path, ["a.png"])
    context = _context(tmp_path, source)
    Prediction().run(_spec(), context)
    previous = _publish(context)
    Prediction().run(_spec(**changed), _context(tmp_path, source, previous=previous))
    assert predictor.asked == ["a.png", "a.png"]


def test_files_of_images_that_are_no_longer_chosen_are_gone_when_it_goes_on(
    tmp_path: Path, predictor: RulePredictor
) -> None:
    source = _source(tmp_path, ["a.png", "b.png"])
    answers = iter([False, True])
    with pytest.raises(StopRequested):
        Prediction().run(_spec(), _context(tmp_path, source, stop=lambda: next(answers)))
    context = _context(tmp_path, source, resumed=True)
    Prediction().run(_spec(split="train"), context)
    assert [path.name for path in (context.staging / "masks").iterdir()] == ["a.png"]


def test_a_split_without_images_is_told_with_those_that_there_are(tmp_path: Path, predictor: RulePredictor) -> None:
    source = _source(tmp_path, ["a.png", "b.png"])
    with pytest.raises(NodeError) as caught:
        Prediction().run(_spec(split=["test"]), _context(tmp_path, source))
    assert caught.value.message == "sources.tiles: no image is in split test, but 1 in train and 1 in val."


@pytest.mark.parametrize(
    ("split", "notes"),
    [
        ("test", ("sources.tiles, as it is now: no image is in split test, but 64 in train and 16 in val",)),
        (["val", "test"], ()),
        (None, ()),
    ],
)
def test_the_plan_tells_of_a_split_that_what_was_made_does_not_have(
    tmp_path: Path, split: Any, notes: tuple[str, ...]
) -> None:
    look = make_look(tmp_path, "predictions.p", facts={"sources.tiles": {"splits": {"train": 64, "val": 16}}})
    assert asyncio.run(Prediction().observe(_spec(split=split), look)).notes == notes
    unmade = make_look(tmp_path, "predictions.p")
    assert asyncio.run(Prediction().observe(_spec(split=split), unmade)).notes == ()


@pytest.mark.parametrize(
    ("task", "written", "expected"),
    [
        ("segment", None, 0.25),
        ("classify", None, 0.0),
        ("classify", 0.5, 0.5),
        ("semantic", None, None),
        ("semantic", 0.3, 0.3),
    ],
)
def test_the_threshold_is_that_of_the_task_unless_one_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, written: float | None, expected: float | None
) -> None:
    asked = []

    def open_predictor(model: Made, settings: Any, *others: Any) -> RulePredictor:
        asked.append(settings.threshold)
        return RulePredictor()

    monkeypatch.setattr("specrun.training.predictors.open_predictor", open_predictor)
    model = _model(tmp_path)
    model = replace(model, facts={**model.facts, "task": task})
    (model.folder / "model.json").write_text(
        json.dumps({"kind": "smp", "activation": "softmax", "classes": ["a", "b"]})
    )
    outputs = Prediction().run(_spec(threshold=written), _context(tmp_path, _source(tmp_path, ["a.png"]), model))
    assert asked == [expected]
    assert (outputs.facts.get("threshold"), outputs.facts["model"]) == (expected, "models.m")
