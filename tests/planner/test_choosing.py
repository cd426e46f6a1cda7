"""The best instance of a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from specrun.errors import NodeError
from specrun.model.address import parse_address
from specrun.model.work import Made
from specrun.planner.choosing import choose_best


def _made(instance: str, **metrics: Any) -> Made:
    return Made(parse_address(f"models.grid[e={instance}]"), "models.toy", Path(), "d", {"metrics": metrics})


@pytest.mark.parametrize(("mode", "chosen"), [("max", "b"), ("min", "a")])
def test_the_mode_says_which_is_best(mode: str, chosen: str) -> None:
    found = [_made("c", iou=float("nan")), _made("b", iou=0.9), _made("a", iou=0.2), _made("d")]
    assert str(choose_best(found, "iou", mode).address) == f"models.grid[e={chosen}]"


def test_of_equals_the_first_address_is_taken() -> None:
    assert choose_best([_made("b", iou=0.5), _made("a", iou=0.5)], "iou", "max").address.instance == (("e", "a"),)


def test_an_unknown_metric_names_those_that_there_are() -> None:
    with pytest.raises(NodeError, match=r"(?s)reports the metric map.*Dice, iou"):
        choose_best([_made("a", iou=0.5), _made("b", dice=0.5)], "map", "max")


def test_a_metric_may_be_written_as_people_read_it() -> None:
    found = [_made("a", **{"metrics/mAP50(B)": 0.2}), _made("b", **{"metrics/mAP50(B)": 0.7})]
    for written in ("metrics/mAP50(B)", "boxes mAP50", "map50"):
        assert choose_best(found, written, "max").address.instance == (("e", "b"),)


def test_a_metric_that_can_be_several_is_no_choice() -> None:
    found = [_made("a", **{"metrics/mAP50(B)": 0.2, "metrics/mAP50(M)": 0.3})]
    with pytest.raises(NodeError, match=r"(?s)map50 can be several.*boxes mAP50 or masks mAP50"):
        choose_best(found, "map50", "max")
