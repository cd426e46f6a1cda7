from __future__ import annotations

from typing import Any

import pytest

from specrun.clients.fiftyone.digests import (
    describe,
    describe_labels,
    doc_entry,
    label_docs,
    part_digest,
    sample_parts,
    split_of,
)
from specrun.clients.fiftyone.layout import Layout, read_layout, run_marks

NONE: frozenset[str] = frozenset()


def polyline(label: str = "Acropora", x: float = 0.0, **rest: Any) -> dict[str, Any]:
    points = [[[x, 0.0], [x + 0.5, 0.0], [x, 0.5]]]
    return {
        "_cls": "Polyline",
        "_id": object(),
        "label": label,
        "points": points,
        "closed": True,
        "filled": True,
        **rest,
    }


def entries(*docs: dict[str, Any]) -> list[str]:
    return [doc_entry(doc, NONE) for doc in docs]


@pytest.mark.parametrize(
    "change",
    [{"_id": "other"}, {"tags": ["seen"]}, {"occluded": False}, {"z_order": 0}, {"confidence": None}, {"index": 7}],
)
def test_what_is_no_part_of_a_label_changes_no_digest(change: dict[str, Any]) -> None:
    assert doc_entry(polyline(**change), NONE) == doc_entry(polyline(), NONE)


@pytest.mark.parametrize(
    "change",
    [
        {"label": "Porites"},
        {"x": 0.1},
        {"occluded": True},
        {"confidence": 0.5},
        {"alive": True},
        {"group": 0},
        {"closed": False, "filled": False},
        {"part_of": 0},
        {"source_label": "x"},
        {"other_classes": ["x"], "other_confidences": [0.5]},
    ],
)
def test_what_is_part_of_a_label_changes_its_digest(change: dict[str, Any]) -> None:
    assert doc_entry(polyline(**change), NONE) != doc_entry(polyline(), NONE)


def test_whole_numbers_that_a_browser_wrote_are_the_same_numbers() -> None:
    assert doc_entry(polyline(points=[[[0, 0], [1, 0], [0, 1]]]), NONE) == doc_entry(
        polyline(points=[[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), NONE
    )


def test_marks_of_an_evaluation_change_no_digest() -> None:
    marks = run_marks({"evaluations": {"ev": {}}}, frozenset())
    assert doc_entry(polyline(ev="tp", ev_id="x", ev_iou=0.9), marks) == doc_entry(polyline(), marks)


def test_fields_of_brain_runs_are_marks_unless_they_are_label_fields() -> None:
    doc = {"brain_methods": {"m": {"config": {"mistakenness_field": "mistakenness", "label_field": "ground_truth"}}}}
    assert run_marks(doc, frozenset({"ground_truth"})) == {"mistakenness"}


def test_single_labels_and_lists_are_read_alike() -> None:
    single = {"_cls": "Classification", "label": "a"}
    assert list(label_docs(single)) == [single]
    assert list(label_docs({"_cls": "Classifications", "classifications": [single]})) == [single]
    assert list(label_docs({"_cls": "Classifications"})) == []
    assert list(label_docs(None)) == []


def test_a_clone_bears_a_mark_that_is_not_its_own() -> None:
    doc = {"_id": 1, "name": "copy", "sample_collection_name": "s", "info": {"specrun": {"name": "original"}}}
    assert read_layout(doc).mark is None
    assert read_layout({**doc, "name": "original"}).mark == {"name": "original"}


def layout(**rest: Any) -> Layout:
    values = {"label_fields": {"ground_truth": {"polylines": "ground_truth"}}, "plain_fields": ["year"], "marks": NONE}
    return Layout(id=1, name="d", collection="c", **{**values, **rest})


def test_the_parts_of_a_sample() -> None:
    doc = {
        "tags": ["v1", "train"],
        "year": 2021,
        "specrun": {"key": "a", "digest": "d"},
        "ground_truth": {"_cls": "Polylines", "polylines": [polyline()]},
    }
    parts = sample_parts(doc, layout(), "media/a.png")
    assert parts == {
        "media": "d media/a.png",
        "split": "train",
        "tags": ["v1"],
        "fields": [["year", 2021]],
        "field:ground_truth": entries(polyline()),
    }


def test_an_image_that_nobody_looked_at_is_not_an_empty_one() -> None:
    seen, unseen = ({"annotated": annotated} for annotated in (True, False))
    assert sample_parts(seen, layout(), "a") != sample_parts(unseen, layout(), "a")


def test_the_order_of_samples_does_not_matter() -> None:
    assert part_digest({"a": 1, "b": 2}) == part_digest({"b": 2, "a": 1}) != part_digest({"a": 2, "b": 1})


def test_the_first_split_counts() -> None:
    assert split_of(["test", "val"]) == "val"
    assert split_of(["training"]) is None


def test_a_split_that_somebody_added_wins_over_the_imported_one() -> None:
    assert split_of(["train", "val"], "train") == "val"
    assert split_of(["train", "val"], "val") == "train"
    assert split_of(["train"], "train") == "train"
    assert split_of([], "train") is None


def test_labels_drawn_on_an_image_that_nobody_looked_at_annotate_it() -> None:
    drawn = {"annotated": False, "ground_truth": {"_cls": "Polylines", "polylines": [polyline()]}}
    came_so = {**drawn, "specrun": {"key": "a", "labels": "digest"}}
    assert sample_parts(drawn, layout(), "a")["field:ground_truth"] == entries(polyline())
    assert sample_parts(came_so, layout(), "a")["field:ground_truth"] != entries(polyline())


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ([], [polyline()], "+1 Acropora"),
        ([polyline(), polyline("Porites", 0.2)], [], "-1 Acropora, -1 Porites"),
        ([polyline()], [polyline("Porites")], "1 Acropora → Porites"),
        ([polyline(), polyline(x=0.2)], [polyline(x=0.1), polyline(x=0.3)], "2 polygons moved"),
        ([polyline()], [polyline(occluded=True)], "1 polygon edited"),
        ([polyline()], [polyline(x=0.1), polyline("Porites")], "1 Acropora → Porites, +1 Acropora"),
        ([polyline(), polyline(x=0.1)], [polyline(x=0.1), polyline()], "their order"),
    ],
)
def test_changes_of_labels_have_words(old: list[dict[str, Any]], new: list[dict[str, Any]], text: str) -> None:
    assert set(describe_labels(entries(*old), entries(*new)).split(", ")) == set(text.split(", "))


def test_changes_of_samples_have_names() -> None:
    old = {"k1": ["a|polygon|1|"], "k2": [], "k3": []}
    new = {"k1": ["a|polygon|2|"], "k2": [], "k4": []}
    assert describe("field:ground_truth", old, new, {"k1": "one.png", "k4": "four.png"}) == (  # type: ignore[arg-type]
        "1 new sample: four.png",
        "1 sample gone: k3",
        "1 sample changed in ground_truth: one.png (1 polygon moved)",
    )
