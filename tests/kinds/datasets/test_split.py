from __future__ import annotations

from collections import Counter

from specrun.kinds.datasets.split import Member, assign_splits, position, small_splits

RATIOS = {"train": 0.8, "val": 0.15, "test": 0.05}


def members(n: int, stratum: str = "") -> list[Member]:
    return [Member(f"k{i}", f"k{i}", stratum) for i in range(n)]


def test_ratios_are_met_on_the_whole() -> None:
    counts = Counter(assign_splits(members(4000), RATIOS, 42, {}).values())
    assert abs(counts["train"] - 3200) < 120
    assert abs(counts["test"] - 200) < 60


def test_a_new_sample_moves_no_other() -> None:
    before = assign_splits(members(50), RATIOS, 42, {})
    after = assign_splits([Member("new", "new"), *members(51)], RATIOS, 42, {})
    assert {key: after[key] for key in before} == before


def test_the_seed_decides() -> None:
    assert assign_splits(members(50), RATIOS, 1, {}) != assign_splits(members(50), RATIOS, 2, {})
    assert position(1, "a") == position(1, "a")


def test_a_group_stays_together() -> None:
    grouped = [Member(f"k{i}", f"g{i // 5}") for i in range(100)]
    splits = assign_splits(grouped, RATIOS, 42, {})
    for start in range(0, 100, 5):
        assert len({splits[f"k{i}"] for i in range(start, start + 5)}) == 1


def test_strata_get_their_share_each() -> None:
    rare, common = members(20, "rare"), [Member(f"c{i}", f"c{i}", "common") for i in range(200)]
    splits = assign_splits([*rare, *common], RATIOS, 42, {})
    assert Counter(splits[m.key] for m in rare) == {"train": 16, "val": 3, "test": 1}
    assert Counter(splits[m.key] for m in common) == {"train": 160, "val": 30, "test": 10}


def test_in_strata_too_a_new_sample_moves_no_other() -> None:
    before = assign_splits(members(20, "rare"), RATIOS, 42, {})
    after = assign_splits(members(21, "rare"), RATIOS, 42, before)
    assert {key: after[key] for key in before} == before


def test_a_split_of_no_share_gets_nothing() -> None:
    assert set(assign_splits(members(200), {"train": 1.0, "val": 0.0}, 42, {}).values()) == {"train"}


def test_a_split_with_hardly_an_image_is_told_with_what_mends_it() -> None:
    (note,) = small_splits({"train": 11, "val": 1}, {"train": 0.8, "val": 0.2, "test": 0.0})
    assert note.startswith("split: val has 1 of 12 images, 20% was asked for; ")
    assert list(small_splits({"train": 10, "val": 2}, {"train": 0.8, "val": 0.2})) == []
    filled = assign_splits(members(12, "coral"), {"train": 0.8, "val": 0.2}, 42, {})
    assert Counter(filled.values()) == {"train": 10, "val": 2}
