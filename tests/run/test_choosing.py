"""The best instance of a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specrun.errors import NodeError
from specrun.model.address import parse_address
from specrun.model.work import Made
from specrun.run.choosing import choose_best


def _made(instance: str, **metrics: Any) -> Made:
    return Made(parse_address(f"models.grid[e={instance}]"), "models.toy", Path(), "d", {"metrics": metrics})


@pytest.mark.parametrize(("mode", "chosen"), [("max", "b"), ("min", "a")])
def test_the_mode_says_which_is_best(mode: str, chosen: str) -> None:
    found = [_made("c", iou=float("nan")), _made("b", iou=0.9), _made("a", iou=0.2), _made("d")]
    assert str(choose_best(found, "iou", mode).address) == f"models.grid[e={chosen}]"


def test_of_equals_the_first_address_is_taken() -> None:
    assert choose_best([_made("b", iou=0.5), _made("a", iou=0.5)], "iou", "max").address.instance == (("e", "a"),)


def test_an_unknown_metric_names_those_that_there_are() -> None:
    with pytest.raises(NodeError, match=r"(?s)reports the metric map.*dice, iou"):
        choose_best([_made("a", iou=0.5), _made("b", dice=0.5)], "map", "max")
