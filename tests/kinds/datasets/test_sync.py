from __future__ import annotations

import pytest

from specrun.errors import NodeError
from specrun.kinds.datasets.sync import Outcome, Report, merge_fields, merge_tags, resolve, three_way


@pytest.mark.parametrize(
    ("base", "here", "upstream", "expected"),
    [
        ("a", "a", "a", Outcome.SAME),
        ("a", "b", "b", Outcome.SAME),
        ("a", "a", "b", Outcome.TAKEN),
        ("a", "b", "a", Outcome.KEPT),
        ("a", "b", "c", Outcome.CONFLICT),
    ],
)
def test_who_changed_a_value(base: str, here: str, upstream: str, expected: Outcome) -> None:
    assert three_way(base, here, upstream) is expected


def test_a_taxonomy_edit_is_no_change_of_the_source() -> None:
    assert three_way("a", "mended", "remapped", moved=False) is Outcome.KEPT


@pytest.mark.parametrize(("policy", "taken"), [("keep", False), ("upstream", True)])
def test_a_conflict_follows_the_policy(policy: str, taken: bool) -> None:
    assert resolve(Outcome.CONFLICT, policy, "a.png") is taken  # type: ignore[arg-type]


def test_a_conflict_can_be_a_failure() -> None:
    with pytest.raises(NodeError, match=r"a\.png: changed at its source and in FiftyOne"):
        resolve(Outcome.CONFLICT, "fail", "a.png")


def test_tags_that_people_added_or_removed_stay_so() -> None:
    assert merge_tags(base=["old", "gone"], here=["old", "mine"], upstream=["old", "gone", "new"]) == [
        "old",
        "new",
        "mine",
    ]


def test_a_tag_that_is_no_longer_wanted_goes() -> None:
    assert merge_tags(base=["sparse"], here=["sparse"], upstream=["dense"]) == ["dense"]


def test_fields_merge_one_by_one() -> None:
    changes, conflicts = merge_fields(
        base={"year": 2020, "area": "A", "old": 1, "depth": 3},
        here={"year": 2020, "area": "B", "old": 1, "depth": 4},
        upstream={"year": 2021, "area": "A", "depth": 5},
        on_conflict="keep",
        what="a.png",
    )
    assert changes == {"year": 2021, "old": None}
    assert conflicts == 1


def test_a_report_names_a_few_samples() -> None:
    report = Report()
    for name in ("a", "b", "c", "d"):
        report.add("kept", name)
    assert report.notes() == ["4 samples kept: a, b, c …"]
