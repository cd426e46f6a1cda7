from __future__ import annotations

from typing import Any

import pytest

from specrun.kinds.where import Condition, holds, problems


@pytest.mark.parametrize(
    ("test", "value", "expected"),
    [
        ({"eq": 3}, 3, True),
        ({"ne": 3}, None, True),
        ({"gte": 2021}, 2021, True),
        ({"gt": 2021}, 2021, False),
        ({"lt": "b"}, "a", True),
        ({"lte": 5}, "4", False),
        ({"gte": 1}, None, False),
        ({"between": [1, 5]}, 5, True),
        ({"between": [1, 5]}, 6, False),
        ({"in": ["a", "b"]}, "b", True),
        ({"not_in": ["a"]}, None, True),
        ({"exists": True}, None, False),
        ({"exists": False}, None, True),
        ({"gt": 1, "lt": 3}, 3, False),
    ],
)
def test_a_condition_is_held_against_a_value(test: dict[str, Any], value: Any, expected: bool) -> None:
    assert holds([Condition(field="x", **test)], {"x": value}) is expected


def test_all_conditions_must_hold() -> None:
    both = [Condition(field="x", eq=1), Condition(field="y", eq=2)]
    assert holds(both, {"x": 1, "y": 2})
    assert not holds(both, {"x": 1, "y": 3})


def test_a_condition_without_a_test_is_a_mistake() -> None:
    assert [p.path for p in problems([Condition(field="x", eq=0), Condition(field="y")])] == ["where.1"]
