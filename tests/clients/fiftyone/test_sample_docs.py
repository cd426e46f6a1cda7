from __future__ import annotations

import pytest

from specrun.clients.fiftyone.sample_docs import sample_query
from specrun.errors import NodeError


def test_no_condition_asks_for_everything() -> None:
    assert sample_query(None, (), ()) == {}


def test_splits_tags_and_fields_become_a_filter() -> None:
    query = sample_query(
        ["train"], [{"field": "year", "gte": 2021, "lt": 2024}, {"field": "area", "in": ["A"]}], ["v1"]
    )
    assert query == {
        "$and": [
            {"tags": {"$in": ["train"]}},
            {"tags": {"$all": ["v1"]}},
            {"year": {"$gte": 2021}},
            {"year": {"$lt": 2024}},
            {"area": {"$in": ["A"]}},
        ]
    }


@pytest.mark.parametrize(
    ("test", "clause"),
    [
        ({"between": [1, 5]}, {"$gte": 1, "$lte": 5}),
        ({"exists": True}, {"$ne": None}),
        ({"exists": False}, {"$eq": None}),
        ({"not_in": ["a"]}, {"$nin": ["a"]}),
    ],
)
def test_each_test_has_its_operator(test: dict[str, object], clause: dict[str, object]) -> None:
    assert sample_query(None, [{"field": "x", **test}], ()) == {"$and": [{"x": clause}]}


def test_an_unknown_test_is_an_error() -> None:
    with pytest.raises(NodeError, match="no test named like"):
        sample_query(None, [{"field": "x", "like": "a"}], ())
