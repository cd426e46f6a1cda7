from __future__ import annotations

import re

import pytest

from specrun.kinds.datasets.metadata import Mismatch, fields_of_name

PATTERN = re.compile(r"(?P<area>.+)_(?P<year>\d{4})_(?P<quadrat>\d+)")


def test_named_groups_become_typed_fields() -> None:
    fields = fields_of_name("a/MooreaE2B_2021_07.jpg", PATTERN, {"year": "int", "quadrat": "int"}, {})
    assert fields == {"area": "MooreaE2B", "year": 2021, "quadrat": 7}


def test_an_alias_is_applied_before_the_type() -> None:
    fields = fields_of_name("X_2021_07.jpg", PATTERN, {}, {"area": {"X": "Entre 2 Baies"}})
    assert fields["area"] == "Entre 2 Baies"


def test_a_pattern_with_a_slash_sees_the_path() -> None:
    assert fields_of_name("site/a.jpg", re.compile(r"(?P<site>[^/]+)/.*"), {}, {}) == {"site": "site"}


def test_a_group_that_took_no_part_is_left_out() -> None:
    assert fields_of_name("a.jpg", re.compile(r"(?P<stem>a)(?P<tail>b)?"), {}, {}) == {"stem": "a"}


@pytest.mark.parametrize(
    ("name", "message"),
    [("photo.jpg", "pattern does not fit"), ("A_2021_07_extra.jpg", "pattern does not fit")],
)
def test_a_name_that_does_not_fit_is_told(name: str, message: str) -> None:
    with pytest.raises(Mismatch, match=message):
        fields_of_name(name, PATTERN, {}, {})


def test_a_value_of_another_type_is_told() -> None:
    with pytest.raises(Mismatch, match='area is "Reef", which is no int'):
        fields_of_name("Reef_2021_07.jpg", PATTERN, {"area": "int"}, {})


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("0", False)])
def test_booleans_have_words(text: str, value: bool) -> None:
    assert fields_of_name(f"{text}.jpg", re.compile("(?P<dead>.+)"), {"dead": "bool"}, {}) == {"dead": value}
