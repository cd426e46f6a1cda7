"""Evaluations of predictions on a source; the numbers themselves are tested in tests/training/metrics."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from specrun.clients.fiftyone.observe import Seen
from specrun.errors import NodeError, SpecError
from specrun.formats.samples import save_samples
from specrun.kinds.evaluations.evaluation import Evaluation, EvaluationSpec
from specrun.kinds.predictions.prediction import PredictionSpec
from specrun.kinds.registry import REGISTRY
from specrun.model.address import parse_address
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Part, Polygon, Sample, Tag, Visibility
from specrun.model.taxonomy import ResolvedTaxonomy
from specrun.model.work import Made
from specrun.spec.project import load_project
from specrun.training.instances import chosen_labels
from specrun.training.predictor import PredictionSettings
from specrun.training.ultralytics.results import result_to_labels
from tests.support.context import make_context
from tests.support.specs import write_spec


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
    made = {"predictions": list(predictions), "truth": [source]}
    declared = spec.pop("declarations", {})
    context = make_context(tmp_path, "evaluations.e", made=made, declarations=declared)
    named = {} if "compare" in spec else {"predictions": [str(p.address) for p in predictions]}
    wanted = EvaluationSpec(**named, **spec)
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
        "dice": 1.0,
        "pixels": 100,
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
    outputs, _ = _evaluate(tmp_path, truth, found)
    assert outputs.facts["map50"] == 1.0
    assert outputs.notes == (
        "the objects of the ground truth are not all masks or polygons, so boxes were compared instead of masks",
    )


def test_masks_that_were_asked_for_and_cannot_be_compared_are_an_error(tmp_path: Path) -> None:
    truth = [_sample("a", Box(label="small", x=2, y=2, width=10, height=10))]
    found = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))])
    with pytest.raises(NodeError, match="mask_map needs masks or polygons"):
        _evaluate(tmp_path, truth, found, metrics=["mask_map"])


@pytest.mark.parametrize(
    ("task", "metrics", "fitting"),
    [
        ("segment", ["accuracy"], "mask_map, box_map, miou, confusion"),
        ("segment", ["oks", "pck"], "mask_map, box_map, miou, confusion"),
        ("classify", ["box_map"], "accuracy, confusion"),
        ("classify", ["miou"], "accuracy, confusion"),
        ("detect", ["mask_map"], "box_map, miou, confusion"),
        ("semantic", ["accuracy"], "miou, mask_map, box_map, confusion"),
    ],
)
def test_metrics_that_say_nothing_of_a_model_are_an_error(
    tmp_path: Path, task: str, metrics: list[str], fitting: str
) -> None:
    found = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9), Tag(label="small"))], task=task)
    truth = [_sample("a", _square("small", 2, 2), Tag(label="small"))]
    with pytest.raises(NodeError, match=f"metrics: {', '.join(metrics)} says nothing of predictions.p") as caught:
        _evaluate(tmp_path, truth, found, metrics=metrics)
    assert fitting in str(caught.value.hint)


def test_keypoints_that_the_truth_lacks_are_an_error_if_asked_for(tmp_path: Path) -> None:
    found = _predictions(tmp_path, [_sample("a", _pose((0, 0), score=0.9))], task="pose")
    truth = [_sample("a", Box(label="small", x=0, y=0, width=40, height=20))]
    with pytest.raises(NodeError, match="oks and pck need keypoints"):
        _evaluate(tmp_path, truth, found, metrics=["oks"])


def test_overlapping_predictions_do_not_change_how_pixels_are_counted(tmp_path: Path) -> None:
    truth = [_sample("a", _square("small", 0, 0, 10), _square("large", 20, 20, 30))]
    apart = [_square("small", 0, 0, 10, score=0.9), _square("large", 20, 20, 30, score=0.8)]
    over = [_square("small", 0, 0, 21, score=0.7), _square("large", 20, 20, 30, score=0.8)]
    exact = _predictions(tmp_path, [_sample("a", *apart)], "exact", task="semantic")
    wide = _predictions(tmp_path, [_sample("a", *over)], "wide", task="semantic")
    outputs, _ = _evaluate(tmp_path, truth, exact, wide)
    assert outputs.notes == ()
    assert outputs.facts["exact"]["pixel_accuracy"] == 1.0
    assert outputs.facts["wide"]["per_class"]["large"]["iou"] == 1.0


def test_a_truth_that_overlaps_or_a_model_that_says_several_is_counted_class_by_class(tmp_path: Path) -> None:
    small, large = _square("small", 5, 5, score=0.9), _square("large", 0, 0, 30, score=0.9)
    found = [_sample("a", small, large)]
    over, _ = _evaluate(
        tmp_path / "1", [_sample("a", small, large)], _predictions(tmp_path / "1", found, task="semantic")
    )
    assert over.facts["miou"] == 1.0
    assert "masks of several classes overlap in the truth" in over.notes[0]
    telling = _predictions(tmp_path / "2", found, task="semantic", multi_label=True)
    said, _ = _evaluate(tmp_path / "2", [_sample("a", large)], telling)
    assert said.facts["per_class"]["large"]["iou"] == 1.0
    assert "predictions.p may say several classes" in said.notes[0]


def _pose(*corners: tuple[float, float], names: tuple[str, ...] = (), **more: Any) -> Keypoints:
    return Keypoints(label="small", points=np.array(corners), names=names, box=(0, 0, 40, 20), **more)


def test_poses_are_compared_by_their_points(tmp_path: Path) -> None:
    truth = [_sample("a", _pose((0, 0), (40, 0), names=("left", "right")))]
    found = _predictions(tmp_path, [_sample("a", _pose((0, 0), (40, 0), score=0.9))])
    outputs, _ = _evaluate(tmp_path, truth, found)
    assert (outputs.facts["oks_map50"], outputs.facts["box_map50"], outputs.facts["pck"]) == (1.0, 1.0, 1.0)
    assert outputs.facts["pck_per_point"] == {"left": 1.0, "right": 1.0}


def test_points_are_paired_by_name(tmp_path: Path) -> None:
    truth = [_sample("a", _pose((0, 0), (40, 0), names=("left", "right")))]
    mirrored = _predictions(tmp_path, [_sample("a", _pose((40, 0), (0, 0), names=("right", "left"), score=0.9))])
    outputs, _ = _evaluate(tmp_path, truth, mirrored)
    assert (outputs.facts["oks_map"], outputs.facts["pck"]) == (1.0, 1.0)


def test_objects_with_other_points_than_the_model_finds_are_an_error(tmp_path: Path) -> None:
    truth = [_sample("a", _pose((0, 0), (40, 0), (0, 20)))]
    found = _predictions(tmp_path, [_sample("a", _pose((0, 0), (40, 0), score=0.9))])
    with pytest.raises(NodeError, match="finds 2 points an object, and the truth has 3"):
        _evaluate(tmp_path, truth, found)


def test_a_skeleton_says_the_points_and_their_sigmas(tmp_path: Path) -> None:
    truth = [_sample("a", _pose((0, 0), (40, 0), names=("left", "right")))]
    found = _predictions(tmp_path, [_sample("a", _pose((2, 0), (38, 0), score=0.9))])
    declared = {"skeletons.s": {"points": ["left", "right"], "sigmas": {"left": 0.001, "right": 0.001}}}
    outputs, _ = _evaluate(tmp_path, truth, found, skeleton="s", declarations=declared)
    assert (outputs.facts["oks_map50"], outputs.facts["pck"]) == (0.0, 1.0)


def test_given_sigmas_make_points_stricter(tmp_path: Path) -> None:
    truth = [_sample("a", _pose((0, 0), names=("tip",)))]
    found = _predictions(tmp_path, [_sample("a", _pose((2, 0), names=("tip",), score=0.9))])
    loose, _ = _evaluate(tmp_path / "1", truth, found)
    strict, _ = _evaluate(tmp_path / "2", truth, found, sigmas={"tip": 0.01})
    assert (loose.facts["oks_map50"], strict.facts["oks_map50"]) == (1.0, 0.0)


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


def test_images_that_nobody_annotated_are_no_truth(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="no image has a ground truth"):
        _evaluate(tmp_path, [replace(_sample("a"), annotated=False)], _predictions(tmp_path, [_sample("a")]))


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
    assert "<img src=x" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;bold" in page


def _photo(tmp_path: Path, name: str, *labels: AnyLabel) -> Sample:
    path = tmp_path / name
    Image.fromarray(np.full((64, 64, 3), 90, dtype=np.uint8)).save(path)
    return replace(_sample(name, *labels), media=path)


def test_the_report_shows_the_worst_images_and_asks_for_nothing_outside(tmp_path: Path) -> None:
    truth = [_photo(tmp_path, "a.png", _square("small", 2, 2), _outline("large", 30, 30))]
    found = _predictions(tmp_path, [_photo(tmp_path, "a.png", _square("small", 2, 2, score=0.9))])
    _, folder = _evaluate(tmp_path, truth, found)
    page = (folder / "report.html").read_text()
    (encoded,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        assert picture.size == (128 + 4 + 128, 128)
        red, green, blue = picture.convert("RGB").getpixel((70, 77))  # type: ignore[misc]
    assert red > max(green, blue) + 30  # missed
    assert "prefers-color-scheme: dark" in page
    assert "the diagonal can be smaller than theirs" in page
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)


def test_tags_are_compared_as_classes_of_images(tmp_path: Path) -> None:
    truth = [_sample(name, Tag(label=label)) for name, label in (("a", "small"), ("b", "small"), ("c", "large"))]
    guesses = {"a": ("small", "large"), "b": ("large", "small"), "c": ("large", "small")}
    predicted = [
        _sample(name, *(Tag(label=label, score=0.9 - place / 2) for place, label in enumerate(labels)))
        for name, labels in guesses.items()
    ]
    found = _predictions(tmp_path, predicted, task="classify", classes=["small", "large", "never"])
    outputs, folder = _evaluate(tmp_path, [*truth, _sample("d")], found)
    assert (outputs.facts["accuracy"], outputs.facts["top5"]) == (0.666667, 1.0)
    assert outputs.facts["per_class"]["large"] == {"precision": 0.5, "recall": 1.0, "f1": 0.666667, "images": 1}
    assert outputs.facts["per_class"]["never"]["f1"] is None
    content = json.loads((folder / "evaluation.json").read_text())["p"]
    assert content["confusion"] == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert [w["name"] for w in content["worst"]] == ["b"]
    assert "no instances" in (folder / "report.html").read_text()


def test_top_5_of_a_classifier_equals_torchmetrics(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.classification")
    random = np.random.default_rng(0)
    names = [f"c{number}" for number in range(9)]
    certainty = random.dirichlet(np.ones(9), 80).astype(np.float32)
    drawn = random.integers(0, 9, 80)
    truth = [_sample(str(place), Tag(label=names[index])) for place, index in enumerate(drawn)]
    settings = PredictionSettings(threshold=0.0, min_area=0, batch=1, device="cpu")
    predicted = []
    for place, row in enumerate(certainty):
        fields = {"orig_shape": (64, 64), "obb": None, "boxes": None, "masks": None, "keypoints": None}
        labels = result_to_labels(SimpleNamespace(probs=SimpleNamespace(data=row), **fields), names)
        predicted.append(_sample(str(place), *chosen_labels(labels, settings)))
    found = _predictions(tmp_path, predicted, task="classify", classes=names, threshold=0.0)
    outputs, _ = _evaluate(tmp_path, truth, found)
    given = torch.from_numpy(certainty), torch.from_numpy(drawn)
    for name, top in (("accuracy", 1), ("top5", 5)):
        expected = float(metrics.MulticlassAccuracy(num_classes=9, average="micro", top_k=top)(*given))
        assert outputs.facts[name] == pytest.approx(expected, abs=1e-6)
    assert outputs.facts["accuracy"] < outputs.facts["top5"] < 1


def test_the_next_classes_of_a_classifier_go_through_the_taxonomy(tmp_path: Path) -> None:
    tags = {"a": Tag(label="oak", score=0.4, others=(("elm", 0.3), ("moss", 0.2), ("fern", 0.1)))}
    truth = [_sample("a", Tag(label="fern"))]
    found = _predictions(
        tmp_path, [_sample("a", tags["a"])], task="classify", classes=["oak", "elm", "moss", "fern"], threshold=0.0
    )
    trees = ResolvedTaxonomy(("tree", "fern"), {"oak": "tree", "elm": "tree"}, frozenset({"moss"}))
    outputs, folder = _evaluate(tmp_path, truth, found, taxonomy="t", declarations={"taxonomies.t": trees.to_json()})
    assert (outputs.facts["accuracy"], outputs.facts["top5"]) == (0.0, 1.0)
    (image,) = json.loads((folder / "evaluation.json").read_text())["p"]["worst"]
    assert image["name"] == "a"


def test_masks_of_a_semantic_model_are_compared_by_pixel(tmp_path: Path) -> None:
    truth = [_sample("a", _outline("small", 0, 0), _outline("small", 20, 20))]
    whole = np.zeros((64, 64), dtype=bool)
    whole[0:10, 0:10] = True
    found = _predictions(
        tmp_path, [_sample("a", Mask(label="small", bitmap=whole, left=0, top=0, score=0.4))], task="semantic"
    )
    outputs, folder = _evaluate(tmp_path, truth, found)
    assert (outputs.facts["miou"], outputs.facts["dice"]) == (0.5, 0.666667)
    assert "map50" not in outputs.facts
    assert outputs.facts["per_class"]["large"] == {"iou": None, "dice": None, "pixels": 0}
    content = json.loads((folder / "evaluation.json").read_text())["p"]
    assert content["confusion"] == [[64 * 64 - 200, 0, 0], [100, 100, 0], [0, 0, 0]]
    assert content["worst"][0]["miou"] == 0.5


def test_a_class_called_background_is_no_class_unless_the_model_knows_it(tmp_path: Path) -> None:
    drawn = np.zeros((64, 64), dtype=bool)
    drawn[0:10, 0:10] = True
    rest = Mask(label="Background", bitmap=~drawn, left=0, top=0)
    truth = [_sample("a", rest, Mask(label="small", bitmap=drawn, left=0, top=0))]
    right = _square("small", 0, 0, score=0.9)
    found = _predictions(tmp_path, [_sample("a", right)], task="semantic")
    outputs, folder = _evaluate(tmp_path, truth, found)
    assert (outputs.facts["miou"], outputs.facts["pixel_accuracy"], outputs.notes) == (1.0, 1.0, ())
    content = json.loads((folder / "evaluation.json").read_text())["p"]
    assert content["confusion_names"] == ["background", "small", "large"]
    names = {"classes": ["small", "Background"], "task": "semantic"}
    told = _predictions(tmp_path / "2", [_sample("a", right)], **names)
    outputs, _ = _evaluate(tmp_path / "2", truth, told)
    assert outputs.facts["miou"] == 0.5  # here it is a class, which was not found


def test_a_background_that_the_taxonomy_does_not_know_stays_the_background(tmp_path: Path) -> None:
    sizes = ResolvedTaxonomy(classes=("tiny", "huge"), mapping={"small": "tiny", "large": "huge"})
    truth = [_sample("a", _square("small", 0, 0, 20), _square("background", 0, 0, 10))]
    found = _predictions(tmp_path, [_sample("a", _square("small", 0, 0, 20, score=0.9))], task="semantic")
    declared = {"taxonomies.t": sizes.to_json()}
    outputs, _ = _evaluate(tmp_path, truth, found, taxonomy="t", declarations=declared)
    assert (outputs.facts["miou"], outputs.notes) == (0.75, ())


def test_a_background_that_lies_above_an_object_cuts_it_as_in_an_export(tmp_path: Path) -> None:
    truth = [_sample("a", _square("small", 0, 0, 20), _square("background", 0, 0, 10))]
    found = _square("small", 0, 0, 20, score=0.9)
    outputs, _ = _evaluate(tmp_path, truth, _predictions(tmp_path, [_sample("a", found)], task="semantic"))
    assert outputs.facts["miou"] == 0.75


def test_overlapping_masks_of_a_semantic_model_count_class_by_class(tmp_path: Path) -> None:
    both = (_square("small", 0, 0, 10), _square("large", 0, 0, 20))
    predicted = [replace(label, score=0.9) for label in both]
    found = _predictions(tmp_path, [_sample("a", *predicted)], task="semantic")
    outputs, _ = _evaluate(tmp_path, [_sample("a", *both)], found)
    assert (outputs.facts["miou"], outputs.facts["pixel_accuracy"]) == (1.0, 1.0)
    alone, _ = _evaluate(tmp_path / "2", [_sample("a", *both)], found, multi_label=False)
    assert alone.facts["miou"] == 0.375  # one class covers the other


def test_regions_to_ignore_count_neither_as_pixels_nor_as_objects(tmp_path: Path) -> None:
    ignored = replace(_square("small", 20, 20, 20), crowd=True)
    truth = [_sample("a", _square("small", 0, 0), ignored)]
    predicted = (_square("small", 0, 0, score=0.9), _square("small", 25, 25, 5, score=0.8))
    outputs, _ = _evaluate(
        tmp_path, truth, _predictions(tmp_path, [_sample("a", *predicted)]), metrics=["mask_map", "miou"]
    )
    assert (outputs.facts["map"], outputs.facts["precision"], outputs.facts["miou"]) == (1.0, 1.0, 1.0)


def test_turned_boxes_are_compared_as_they_stand(tmp_path: Path) -> None:
    box = Box(label="small", x=10, y=28, width=40, height=6, rotation=45)
    across = replace(box, rotation=-45, score=0.9)  # the same upright box
    outputs, _ = _evaluate(tmp_path, [_sample("a", box)], _predictions(tmp_path, [_sample("a", across)], task="obb"))
    assert outputs.facts["map50"] == 0.0
    same = _predictions(tmp_path, [_sample("a", replace(box, score=0.9))], "same", task="obb")
    outputs, _ = _evaluate(tmp_path / "2", [_sample("a", box)], same)
    assert outputs.facts["map"] == 1.0


_TAXONOMY = {
    "classes": ["coral"],
    "map": {"small": "coral", "large": "coral", "Acropora": "coral"},
    "drop": ["sand"],
    "unmapped": "error",
    "colors": {},
}


def test_a_model_of_one_taxonomy_is_evaluated_on_another_through_the_map(tmp_path: Path) -> None:
    truth = [_sample("a", _square("Acropora", 2, 2), _square("sand", 40, 40))]
    found = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))])
    declared = {"taxonomies.extended": _TAXONOMY}
    outputs, _ = _evaluate(tmp_path, truth, found, declarations=declared, taxonomy="extended")
    assert outputs.facts["per_class"]["coral"]["map"] == 1.0
    assert outputs.notes == ()


def test_a_class_that_the_taxonomy_does_not_know_is_an_error(tmp_path: Path) -> None:
    found = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))])
    with pytest.raises(NodeError, match='the ground truth: the taxonomy has no class "Porites"'):
        _evaluate(
            tmp_path,
            [_sample("a", _square("Porites", 2, 2))],
            found,
            declarations={"taxonomies.extended": _TAXONOMY},
            taxonomy="extended",
        )


def _compared(tmp_path: Path, second_images: int = 12, **spec: Any) -> Any:
    """The second model misses the large squares of every other image."""
    names = [f"{n:02d}" for n in range(12)]
    both = (_square("small", 2, 2), _square("large", 30, 30, 20))
    truth = [_sample(name, *both) for name in names]
    sure = [replace(label, score=0.9) for label in both]
    good = _predictions(tmp_path, [_sample(name, *sure) for name in names], "good")
    worse = [_sample(name, *sure[: 1 + n % 2]) for n, name in enumerate(names)]
    bad = _predictions(tmp_path, worse[:second_images][::-1], "bad")
    return _evaluate(tmp_path, truth, good, bad, compare=["good", "bad"], bootstrap=200, **spec)


def test_models_side_by_side_have_their_difference_and_how_sure_it_is(tmp_path: Path) -> None:
    outputs, folder = _compared(tmp_path)
    differences = outputs.facts["compare"]["bad"]
    assert outputs.facts["compare"]["baseline"] == "good"
    assert differences["map50"]["difference"] == pytest.approx(outputs.facts["bad"]["map50"] - 1.0, abs=1e-6)
    assert differences["map50"]["low"] < differences["map50"]["difference"] < differences["map50"]["high"] < 0
    assert differences["per_class"]["small"]["map50"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert differences["per_class"]["large"]["map50"]["high"] < 0
    again, _ = _compared(tmp_path / "again")
    assert again.facts == outputs.facts
    page = (folder / "report.html").read_text()
    assert "Side by side" in page
    assert 'class="sure"' in page


def test_models_on_other_images_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match=r"predictions.good has 12, predictions.bad has 5, 5 are common \(not: s/05"):
        _compared(tmp_path, 5)


def test_the_common_images_are_compared_where_that_is_asked_for(tmp_path: Path) -> None:
    outputs, _ = _compared(tmp_path, 5, images="common")
    assert (outputs.facts["good"]["images"], outputs.facts["bad"]["images"]) == (5, 5)
    assert outputs.notes[0].startswith("only the 5 images that all predictions cover were compared")


def test_models_with_nothing_in_common_are_not_compared(tmp_path: Path) -> None:
    boxes = _predictions(tmp_path, [_sample("a", _square("small", 2, 2, score=0.9))], "boxes")
    tags = _predictions(tmp_path, [_sample("a", Tag(label="small", score=0.9))], "tags", task="classify")
    truth = [_sample("a", _square("small", 2, 2), Tag(label="small"))]
    with pytest.raises(NodeError, match="no measure in common"):
        _evaluate(tmp_path, truth, boxes, tags, compare=["boxes", "tags"])


class _Lookup:
    project_dir = Path("/")

    def __init__(self, **on: str) -> None:
        self.on = on

    def spec(self, address: str) -> Any:
        section, _, name = address.removesuffix("[*]").partition(".")
        if section == "predictions" and name in self.on:
            return PredictionSpec(model="models.m", on=self.on[name])
        if section == "evaluations" and name in self.on:
            return EvaluationSpec(predictions=[self.on[name]])
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


def test_what_is_compared_may_be_predictions_or_evaluations() -> None:
    spec = EvaluationSpec(compare=["p", "evaluations.e"])
    lookup = _Lookup(p="datasets.reef", q="datasets.reef", e="q")
    assert [need.ref for need in Evaluation().needs(spec, lookup)][:2] == ["predictions.p", "predictions.q"]
    assert not Evaluation().check(spec, lookup)


def test_one_thing_alone_cannot_be_compared() -> None:
    lookup = _Lookup(p="datasets.reef")
    (problem,) = Evaluation().check(EvaluationSpec(compare=["p"]), lookup)
    assert problem.path == "compare"
    assert not Evaluation().check(EvaluationSpec(compare=["p[*]"]), lookup)


def test_predictions_and_compare_exclude_each_other() -> None:
    lookup = _Lookup(p="datasets.reef", q="datasets.reef")
    for wrong in (EvaluationSpec(), EvaluationSpec(predictions=["p"], compare=["p", "q"])):
        assert len(Evaluation().check(wrong, lookup)) == 1


class _WithModel(_Lookup):
    def __init__(self, kind: str, **model: str) -> None:
        super().__init__(p="datasets.reef")
        self.kind, self.model = kind, SimpleNamespace(**model)

    def spec(self, address: str) -> Any:
        if address == "exports.yolo":
            return SimpleNamespace(task="pose")
        return self.model if address == "models.m" else super().spec(address)

    def kind_of(self, address: str) -> str | None:
        return self.kind if address == "models.m" else None


@pytest.mark.parametrize(
    ("lookup", "wrong", "right"),
    [
        (_WithModel("models.smp"), "accuracy", "miou"),
        (_WithModel("models.ultralytics", weights="yolo11n-seg.pt"), "oks", "mask_map"),
        (_WithModel("models.ultralytics", weights="mine.pt", data="yolo"), "mask_map", "oks"),
    ],
)
def test_metrics_that_do_not_fit_are_known_before_anything_runs(lookup: Any, wrong: str, right: str) -> None:
    (problem,) = Evaluation().check(EvaluationSpec(predictions=["p"], metrics=[wrong]), lookup)
    assert (problem.path, right in str(problem.hint)) == ("metrics", True)
    assert not Evaluation().check(EvaluationSpec(predictions=["p"], metrics=[right]), lookup)


def test_bare_names_to_compare_are_predictions(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, "evaluations:\n  versus: {compare: [p, evaluations.other]}\n")
    with pytest.raises(SpecError) as caught:
        load_project(spec, REGISTRY, environ={})
    messages = [str(one) for one in caught.value.diagnostics]
    assert len(messages) == 2
    assert "there is no predictions.p" in messages[0]
    assert "there is no evaluations.other" in messages[1]


_WITH_FIELDS = """\
sources: {s: {kind: annotations, format: cvat, path: a.xml}}
datasets:
  d: {from: sources.s, label_field: truth}
models: {m: {kind: smp, encoder: resnet18, encoder_weights: null, data: x}}
exports: {x: {kind: mmseg, dataset: d}}
predictions:
  p: {model: m, on: datasets.d}
  q: {model: m, on: datasets.d, label_field: second}
  r: {model: m, on: sources.s}
"""


@pytest.mark.parametrize(
    ("evaluation", "words", "hint"),
    [
        ("{predictions: [p], ground_truth: thruth}", 'no entry writes a label field "thruth"', 'Did you mean "truth"?'),
        ("{predictions: [p], ground_truth: mended}", "must be there in FiftyOne", "truth, predictions_p or second"),
        ("{compare: [p, q], ground_truth: ruth}", 'no entry writes a label field "ruth"', 'Did you mean "truth"?'),
    ],
)
def test_a_ground_truth_that_no_entry_writes_is_warned_of(
    tmp_path: Path, evaluation: str, words: str, hint: str
) -> None:
    (tmp_path / "a.xml").write_text("<annotations/>")
    spec = write_spec(tmp_path, f"{_WITH_FIELDS}evaluations: {{e: {evaluation}}}\n")
    (warning,) = load_project(spec, REGISTRY, environ={}).warnings
    assert words in str(warning)
    assert hint in str(warning)


@pytest.mark.parametrize("field", ["truth", "second", "null"])
def test_a_ground_truth_that_an_entry_writes_is_not_warned_of(tmp_path: Path, field: str) -> None:
    (tmp_path / "a.xml").write_text("<annotations/>")
    spec = write_spec(tmp_path, f"{_WITH_FIELDS}evaluations: {{e: {{predictions: [p], ground_truth: {field}}}}}\n")
    project = load_project(spec, REGISTRY, environ={})
    assert not project.warnings
    (node,) = (node for node in project.nodes if str(node.address) == "evaluations.e")
    needed = [str(used.address) for used in node.inputs]
    assert needed == ["predictions.p", *(["predictions.q"] if field == "second" else []), "datasets.d"]


def test_a_source_has_no_field_to_choose(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotations/>")
    spec = write_spec(tmp_path, f"{_WITH_FIELDS}evaluations: {{e: {{predictions: [r], ground_truth: truth}}}}\n")
    with pytest.raises(SpecError, match=r"sources\.s has its own labels and no label fields"):
        load_project(spec, REGISTRY, environ={})


def test_the_plan_names_the_fields_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(exists=True, parts={"media": "1", "field:ground_truth": "2", "field:predictions_p": "3"})
    monkeypatch.setattr("specrun.clients.fiftyone.observe.observe_dataset", lambda *asked: seen)
    look: Any = SimpleNamespace(
        settings={}, state_dir=tmp_path, project_dir=tmp_path, facts={"predictions.p": {"dataset": "reef"}}.get
    )

    def notes(field: str | None) -> tuple[str, ...]:
        return asyncio.run(Evaluation().observe(EvaluationSpec(predictions=["p"], ground_truth=field), look)).notes

    assert notes("mended") == ("reef has no label field mended in FiftyOne; it has ground_truth and predictions_p",)
    assert notes("ground_truth") == notes(None) == ()
