from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from specrun.kinds.datasets.dataset import Dataset
from specrun.kinds.datasets.spec import DatasetSpec, dataset_name


def problems(**spec: Any) -> dict[str, str]:
    found = Dataset().check(DatasetSpec.model_validate({"from": "sources.a", **spec}), None)  # type: ignore[arg-type]
    return {problem.path: problem.message for problem in found}


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"split": {"ratios": {"train": 0.8, "val": 0.1}}}, "split.ratios", "sum to 0.9"),
        ({"split": {"ratios": {"train": 1.2, "val": -0.2}}}, "split.ratios", "between 0 and 1"),
        ({"metadata": {"pattern": "(?P<a>"}}, "metadata.pattern", "Not a regular expression"),
        ({"metadata": {"pattern": ".*"}}, "metadata.pattern", "names no group"),
        ({"metadata": {"pattern": "(?P<tags>.*)"}}, "metadata.pattern", "uses already"),
        ({"metadata": {"pattern": "(?P<a>.*)", "types": {"b": "int"}}}, "metadata.types.b", "no such group"),
        ({"quality": [{"tag": "x"}]}, "quality.0", "no bound"),
        ({"quality": [{"tag": "x", "min_labels": 3, "max_labels": 1}]}, "quality.0", "above max_labels"),
        ({"quality": [{"tag": "val", "min_labels": 3}]}, "quality.0.tag", "names a split"),
        ({"tags": ["v1", "train"]}, "tags.1", "names a split"),
        ({"label_field": "tags"}, "label_field", "uses already"),
        ({"info": {"specrun": 1}}, "info.specrun", "its own notes"),
        ({"where": [{"field": "year"}]}, "where.0", "tests nothing"),
    ],
)
def test_a_mistake_is_found_at_its_place(spec: dict[str, Any], path: str, message: str) -> None:
    assert message in problems(**spec)[path]


def test_a_field_that_the_pattern_lacks_is_a_warning() -> None:
    spec = DatasetSpec.model_validate(
        {
            "from": "sources.a",
            "metadata": {"pattern": "(?P<year>.*)"},
            "split": {"ratios": {"train": 0.5, "val": 0.5}, "group_by": "quadrat", "stratify_by": "label"},
        }
    )
    [problem] = Dataset().check(spec, None)  # type: ignore[arg-type]
    assert (problem.path, problem.warning) == ("split.group_by", True)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValidationError):
        DatasetSpec.model_validate({"from": "sources.a", "split": {"ratios": {"training": 1.0}}})


def test_of_another_dataset_predictions_are_not_read() -> None:
    spec = DatasetSpec.model_validate({"from": ["sources.a", "datasets.b"]})
    own, other = Dataset().inputs(spec)
    assert (own.ref, own.parts) == ("sources.a", ())
    assert set(other.parts) == {"media", "split", "tags", "fields", "captions", "classes", "field:ground_truth"}


def test_an_unnamed_dataset_keeps_its_first_name() -> None:
    spec = DatasetSpec.model_validate({"from": "sources.a"})
    assert dataset_name(spec, "my project", "reef", None) == "my-project.reef"
    assert dataset_name(spec, "moved", "reef", "my-project.reef") == "my-project.reef"
