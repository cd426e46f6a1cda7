"""Evaluations of predictions on a source; the numbers themselves are tested in tests/training/metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specrun.errors import NodeError
from specrun.formats.samples import save_samples
from specrun.kinds.evaluations import Evaluation, EvaluationSpec
from specrun.kinds.predictions import PredictionSpec
from specrun.model.address import parse_address
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Part, Polygon, Sample, Tag, Visibility
from specrun.model.work import Made
from tests.support.context import make_context


def _square(name: str, x: int, y: int, size: int = 10, score: float | None = None) -> Mask:
    return Mask(label=name, bitmap=np.ones((size, size), dtype=bool), left=x, top=y, score=score)


def _outline(name: str, x: float, y: float, size: float = 10) -> Polygon:
    corners = np.array([[x, y], [x + size, y], [x + size, y + size], [x, y + size]], dtype=float)
    return Polygon(label=name, parts=(Part(corners),))


def _sample(name: str, *labels: AnyLabel) -> Sample:
    return Sample(
        key=f"s/{name}", media=Path("/nowhere") / name, name=name, digest=name, size_wh=(64, 64), labels=labels
    )


def _made(tmp_path: Path, address: str, kind: str, file: str, samples: list[Sample], **facts: Any) -> Made:
    folder = tmp_path / "made" / address
    folder.mkdir(parents=True)
    save_samples(folder / file, samples, tmp_path)
    return Made(parse_address(address), kind, folder, "d", facts)


def _predictions(tmp_path: Path, samples: list[Sample], name: str = "p", **facts: Any) -> Made:
    described = {"classes": ["small", "large"], "threshold": 0.01, **facts}
    address, kind = f"predictions.{name}", "predictions.prediction"
    return _made(tmp_path, address, kind, "predictions.jsonl", samples, **described)


def _evaluate(tmp_path: Path, truth: list[Sample], *predictions: Made, **spec: Any) -> Any:
    source = _made(tmp_path, "sources.s", "sources.annotations", "samples.jsonl", truth)
    context = make_context(tmp_path, "evaluations.e", made={"predictions": list(predictions), "truth": [source]})
    wanted = EvaluationSpec(predictions=[str(p.address) for p in predictions], **spec)
    return Evaluation().run(wanted, context), context.staging


def test_polygons_are_compared_with_masks_pixel_by_pixel(tmp_path: Path) -> None:
    truth = [_sample("a", _outline("small", 2, 2), _outline("large", 30, 30))]
    found = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))])
    outputs, _ = _evaluate(tmp_path, truth, found, metrics=["mask_map", "box_map", "miou", "confusion"])

    assert (outputs.facts["map50"], outputs.facts["map"], outputs.facts["box_map50"]) == (0.5, 0.5, 0.5)
    assert outputs.facts["per_class"]["small"] == {
        "map50": 1.0,
        "map": 1.0,
        "labels": 1,
        "box_map50": 1.0,
        "box_map": 1.0,
        "iou": 1.0,
    }
    assert outputs.facts["miou"] == 0.5
    assert (outputs.facts["precision"], outputs.facts["recall"]) == (1.0, 0.5)


def test_only_the_images_that_the_predictions_cover_are_evaluated(tmp_path: Path) -> None:
    truth = [_sample("a", _square("small", 2, 2)), _sample("b", _square("small", 2, 2))]
    outputs, _ = _evaluate(tmp_path, truth, _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))]))
    assert (outputs.facts["images"], outputs.facts["map50"]) == (1, 1.0)


def test_the_images_with_most_mistakes_come_first(tmp_path: Path) -> None:
    truth = [
        _sample("one", _square("small", 2, 2), _square("small", 30, 30)),
        _sample("two", _square("small", 2, 2), _square("small", 30, 30)),
    ]
    good = _square("small", 2, 2, score=0.9)
    found = _predictions(
        tmp_path,
        [_sample("one", good), _sample("two", _square("large", 2, 2, score=0.9), _square("large", 50, 50, score=0.9))],
    )
    _, folder = _evaluate(tmp_path, truth, found)
    content = json.loads((folder / "evaluation.json").read_text())["p"]
    assert [(w["name"], w["missed"], w["invented"], w["swapped"]) for w in content["worst"]] == [
        ("two", 1, 1, 1),
        ("one", 1, 0, 0),
    ]
    assert content["confusion"] == [[1, 1, 2], [0, 0, 0], [0, 1, 0]]


def test_boxes_in_the_truth_are_compared_as_boxes(tmp_path: Path) -> None:
    truth = [_sample("a", Box(label="small", x=2, y=2, width=10, height=10), Tag(label="small"))]
    found = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))])
    outputs, _ = _evaluate(tmp_path, truth, found, metrics=["mask_map"])
    assert outputs.facts["map50"] == 1.0
    assert "boxes were compared" in outputs.notes[0]


def test_a_detector_is_compared_with_polygons_by_boxes(tmp_path: Path) -> None:
    found = _predictions(tmp_path, [_sample("a", Box(label="small", x=2, y=2, width=10, height=10, score=0.9))])
    outputs, _ = _evaluate(tmp_path, [_sample("a", _outline("small", 2, 2))], found)
    assert outputs.facts["map50"] == 1.0
    assert outputs.notes == (
        "the objects of predictions.p are not all masks or polygons, so boxes were compared instead of masks",
    )


def test_poses_are_compared_by_their_boxes(tmp_path: Path) -> None:
    points = np.array([[3.0, 3.0], [9.0, 9.0]])
    truth = [_sample("a", Keypoints(label="small", points=points, box=(2, 2, 10, 10)))]
    found = _predictions(
        tmp_path, [_sample("a", Keypoints(label="small", points=points, box=(2, 2, 10, 9), score=0.9))]
    )
    outputs, _ = _evaluate(tmp_path, truth, found)
    assert outputs.facts["map50"] == 1.0
    assert outputs.notes[0].startswith("the objects of the ground truth and of predictions.p are not all masks")


def test_pixels_of_the_truth_are_drawn_with_small_shapes_on_top(tmp_path: Path) -> None:
    inner, outer = _outline("small", 10, 10, 5), _outline("large", 2, 2, 40)
    certain = [_square("large", 2, 2, 40, score=0.8), _square("small", 10, 10, 5, score=0.9)]
    found = _predictions(tmp_path, [_sample("a", *certain)])
    outputs, _ = _evaluate(tmp_path, [_sample("a", inner, outer)], found, metrics=["miou"])
    assert outputs.facts["miou"] == 1.0


def test_the_box_of_a_drawn_mask_is_that_of_its_pixels(tmp_path: Path) -> None:
    bitmap = np.zeros((40, 40), dtype=bool)
    bitmap[2:12, 2:12] = True
    found = _predictions(tmp_path, [_sample("a", Box(label="small", x=2, y=2, width=10, height=10, score=0.9))])
    outputs, _ = _evaluate(tmp_path, [_sample("a", Mask(label="small", bitmap=bitmap, left=0, top=0))], found)
    assert outputs.facts["map"] == 1.0


def test_points_that_are_not_in_the_image_do_not_stretch_the_box(tmp_path: Path) -> None:
    points = np.array([[20.0, 20.0], [30.0, 30.0], [0.0, 0.0]])
    truth = Keypoints(
        label="small", points=points, visibility=(Visibility.VISIBLE, Visibility.OCCLUDED, Visibility.ABSENT)
    )
    hidden = Keypoints(label="small", points=points[2:], visibility=(Visibility.ABSENT,))
    found = _predictions(tmp_path, [_sample("a", Box(label="small", x=20, y=20, width=10, height=10, score=0.9))])
    outputs, _ = _evaluate(tmp_path, [_sample("a", truth, hidden)], found)
    assert (outputs.facts["map"], outputs.facts["recall"]) == (1.0, 1.0)


def test_a_high_threshold_is_told(tmp_path: Path) -> None:
    found = _predictions(tmp_path, [_sample("a")], threshold=0.5)
    outputs, _ = _evaluate(tmp_path, [_sample("a", _square("small", 2, 2))], found)
    assert outputs.facts["map50"] == 0.0
    assert "0.5 confidence" in outputs.notes[0]


def test_several_predictions_stand_under_their_names(tmp_path: Path) -> None:
    good = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))], "good")
    bad = _predictions(tmp_path, [_sample("a")], "bad")
    outputs, folder = _evaluate(tmp_path, [_sample("a", _square("small", 2, 2))], good, bad)
    assert (outputs.facts["good"]["map50"], outputs.facts["bad"]["map50"]) == (1.0, 0.0)
    assert set(json.loads((folder / "evaluation.json").read_text())) == {"good", "bad"}


def test_a_class_that_the_model_does_not_know_counts_as_missed(tmp_path: Path) -> None:
    truth = [_sample("a", _square("small", 2, 2), _square("giant", 30, 30))]
    outputs, _ = _evaluate(tmp_path, truth, _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))]))
    assert outputs.facts["per_class"]["giant"]["map50"] == 0.0
    assert outputs.facts["map50"] == 0.5
    assert outputs.notes == ("1 truth label is of a class the model does not know: giant",)


def test_labels_of_classes_that_the_model_does_not_know_are_counted(tmp_path: Path) -> None:
    strange = [_square("giant", 30, 30), _square("cat", 2, 40), _square("cat", 40, 2)]
    truth = [_sample("a", _square("small", 2, 2), *strange, Tag(label="sunny"))]
    outputs, _ = _evaluate(tmp_path, truth, _predictions(tmp_path, [_sample("a")]))
    assert outputs.notes == ("3 truth labels are of classes the model does not know: cat, giant",)
    assert set(outputs.facts["per_class"]) == {"small", "large", "cat", "giant"}


def test_a_model_that_shares_no_class_with_the_truth_cannot_be_evaluated(tmp_path: Path) -> None:
    found = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))])
    with pytest.raises(NodeError, match="share no class; the model knows small, large, the truth has cat"):
        _evaluate(tmp_path, [_sample("a", _square("cat", 2, 2))], found)


def test_predictions_of_other_images_cannot_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="none of its 1 images is in the dataset"):
        _evaluate(tmp_path, [_sample("a")], _predictions(tmp_path, [_sample("b")]))


def test_no_truth_at_all_has_no_number(tmp_path: Path) -> None:
    found = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))])
    outputs, folder = _evaluate(tmp_path, [_sample("a")], found)
    assert outputs.facts["map50"] is None
    json.loads((folder / "evaluation.json").read_text())


def test_names_in_the_report_are_text(tmp_path: Path) -> None:
    truth = [_sample("<img src=x>.png", _square("<b>bold", 2, 2))]
    found = _predictions(tmp_path, [_sample("<img src=x>.png")], classes=["<b>bold"])
    _, folder = _evaluate(tmp_path, truth, found)
    page = (folder / "report.html").read_text()
    assert "<img" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;bold" in page


class _Lookup:
    project_dir = Path("/")

    def __init__(self, **on: str) -> None:
        self.on = on

    def spec(self, address: str) -> Any:
        section, _, name = address.partition(".")
        if section == "predictions" and name in self.on:
            return PredictionSpec(model="models.m", on=self.on[name])
        return None

    def kind_of(self, address: str) -> str | None:
        return None


def test_the_truth_is_needed_where_the_predictions_were_made() -> None:
    spec = EvaluationSpec(predictions=["p"])
    needs = Evaluation().needs(spec, _Lookup(p="datasets.reef"))
    assert [(need.role, need.ref, need.parts) for need in needs] == [
        ("predictions", "predictions.p", ()),
        ("truth", "datasets.reef", ("media", "split", "classes", "field:ground_truth")),
    ]


def test_predictions_of_two_datasets_cannot_be_compared() -> None:
    spec = EvaluationSpec(predictions=["p", "q"])
    (problem,) = Evaluation().check(spec, _Lookup(p="datasets.reef", q="datasets.other"))
    assert problem.path == "predictions"
    assert not Evaluation().check(spec, _Lookup(p="datasets.reef", q="datasets.reef"))
