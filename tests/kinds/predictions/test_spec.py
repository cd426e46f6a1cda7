"""What is a mistake in predictions, found before anything runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from specrun.kinds.connections.huggingface import HuggingFaceConnection, HuggingFaceConnectionSpec
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.kinds.predictions.prediction import Prediction
from specrun.kinds.predictions.spec import PredictionSpec

_HUB = {"connection": "hub", "url": "https://endpoints.example.org/x"}
_KINDS = {
    "connections.hub": "connections.huggingface",
    "connections.lab": "connections.cvat",
    "models.pixels": "models.smp",
    "models.m": "models.ultralytics",
}
_LOOKUP: Any = SimpleNamespace(
    spec=lambda address: SimpleNamespace(skeleton="pose") if address == "datasets.reef" else None,
    kind_of=_KINDS.get,
    addresses=lambda section: [],
)


def _spec(**values: Any) -> PredictionSpec:
    given = {"model": "m", "on": "datasets.reef", **values}
    return PredictionSpec.model_validate({key: value for key, value in given.items() if value is not None})


@pytest.mark.parametrize(
    ("values", "path", "words"),
    [
        ({"model": None}, "", "nothing predicts"),
        ({"endpoint": _HUB}, "endpoint", "stands beside `model`"),
        ({"view": "best", "on": "sources.x"}, "view", "only datasets"),
        ({"tta": ["flip", "flip"]}, "tta", "twice"),
        ({"tta": ["none", "flip"]}, "tta", "none stands beside others"),
        ({"where": [{"field": "year"}]}, "where.0", "tests nothing"),
        ({"model": "pixels", "nms": {"iou": 0.5}}, "nms", "finds no objects"),
        ({"model": "pixels", "max_count": 5}, "max_count", "finds no objects"),
        ({"model": None, "endpoint": {**_HUB, "connection": "lab"}}, "endpoint.connection", "no account of the Hub"),
        ({"model": None, "endpoint": {**_HUB, "url": "example.org"}}, "endpoint.url", "not the address"),
        ({"model": None, "endpoint": {**_HUB, "url": "https://a:b@c"}}, "endpoint.url", "holds a user"),
        ({"model": None, "endpoint": _HUB, "precision": "fp16"}, "precision", "endpoint's own"),
        ({"model": None, "endpoint": _HUB, "outputs": {"yolo": True}}, "outputs.yolo", "order of the classes"),
    ],
)
def test_mistakes_are_found_at_their_place(values: dict[str, Any], path: str, words: str) -> None:
    found = Prediction().check(_spec(**values), _LOOKUP)
    assert [problem.path for problem in found] == [path]
    assert words in found[0].message


@pytest.mark.parametrize(
    "values",
    [
        {"tile": {"size": [512, 512], "overlap": 1.0}},
        {"tile": {"size": [8, 512]}},
        {"threshold": 1.5},
        {"tta": ["mirror"]},
        {"nms": {"iou": 0}},
        {"max_count": 0},
        {"precision": "int8"},
        {"endpoint": {**_HUB, "concurrency": 0}},
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _spec(**values)


def test_what_is_right_has_no_problem() -> None:
    tile = {"size": [1024, 1024], "overlap": 0.5}
    assert not Prediction().check(_spec(tile=tile, tta=["flip", "scale"], nms={"iou": 0.6}, max_count=9), _LOOKUP)
    assert not Prediction().check(_spec(model=None, endpoint=_HUB, on="sources.x"), _LOOKUP)


def test_the_skeleton_of_the_dataset_is_needed_unless_one_is_named() -> None:
    def skeletons(spec: PredictionSpec) -> list[object]:
        return [need.ref for need in Prediction().needs(spec, _LOOKUP) if need.role == "skeleton"]

    assert skeletons(_spec()) == ["skeletons.pose"]
    assert skeletons(_spec(skeleton="corners")) == ["skeletons.corners"]
    assert skeletons(_spec(on="sources.x")) == []


@pytest.mark.parametrize("values", [{"where": [{"field": "year", "gte": 2021}]}, {"tags": ["v1"]}, {"view": "best"}])
def test_a_choice_by_fields_or_tags_depends_on_them(values: dict[str, Any]) -> None:
    (need,) = (need for need in Prediction().inputs(_spec(**values)) if need.role == "on")
    assert need.parts == ("media", "split", "tags", "fields")


def test_a_hub_of_ones_own_should_be_encrypted() -> None:
    def problems(**values: Any) -> list[tuple[str, bool]]:
        spec = HuggingFaceConnectionSpec.model_validate(values)
        return [(problem.path, problem.warning) for problem in HuggingFaceConnection().check(spec, _LOOKUP)]

    token = {"env": "HF_TOKEN"}
    assert problems(token=token) == []
    assert problems(token=token, endpoint="http://hub.example.org") == [("endpoint", True)]
    assert problems(endpoint="hub.example.org") == [("endpoint", False)]


def test_the_token_is_no_part_of_what_is_made() -> None:
    kind = HuggingFaceConnection()
    spec = HuggingFaceConnectionSpec.model_validate({"token": {"env": "HF_TOKEN"}})
    assert kind.result(kind.resolve(spec, _LOOKUP)) == {"host": "huggingface.co"}


def _problems_of(spec: PredictionSpec, **others: Any) -> list[str]:
    entries = {
        "datasets.reef": DatasetSpec.model_validate({"from": "sources.x", "name": "shared"}),
        "datasets.second": DatasetSpec.model_validate({"from": "sources.x", "name": "shared", "label_field": "mended"}),
        "predictions.a": spec,
        **{f"predictions.{name}": other for name, other in others.items()},
    }
    lookup: Any = SimpleNamespace(
        spec=entries.get,
        kind_of=_KINDS.get,
        addresses=lambda section: [address for address in entries if address.startswith(f"{section}.")],
    )
    return [problem.message for problem in Prediction().check(spec, lookup) if problem.path == "label_field"]


@pytest.mark.parametrize("name", ["ground_truth", "mended"])
def test_a_field_that_people_annotate_is_refused(name: str) -> None:
    (message,) = _problems_of(_spec(label_field=name))
    assert "which people annotate" in message


@pytest.mark.parametrize("name", ["filepath", "tags", "a b", "", "1st", "a.b", "_id"])
def test_what_fiftyone_cannot_take_as_a_label_field_is_refused(name: str) -> None:
    assert len(_problems_of(_spec(label_field=name))) == 1


def test_two_predictions_with_one_field_of_one_dataset_are_refused() -> None:
    (message,) = _problems_of(_spec(label_field="found"), b=_spec(label_field="found", on="datasets.second"))
    assert message == "predictions.b writes found of this dataset too"
    assert _problems_of(_spec(), b=_spec(label_field="predictions_a"))
    assert not _problems_of(_spec(), b=_spec())
    assert not _problems_of(_spec(label_field="found"), b=_spec(label_field="found", on="sources.x"))
