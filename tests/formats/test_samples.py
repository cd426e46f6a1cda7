from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrun.errors import FormatError
from specrun.formats.samples import (
    label_from_json,
    label_to_json,
    load_samples,
    sample_from_json,
    sample_to_json,
    sample_to_line,
    save_samples,
)
from specrun.model.labels import Box, Keypoints, Mask, Part, Polygon, Polyline, Sample, Tag, Visibility

PROJECT = Path("/project")
numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=8)


def points(at_least: int = 0) -> st.SearchStrategy[Any]:
    pairs = st.lists(st.tuples(numbers, numbers), min_size=at_least, max_size=5)
    return pairs.map(lambda rows: np.array(rows, dtype=np.float64).reshape(-1, 2))


bitmaps = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda bits: np.array(bits, dtype=bool).reshape(shape)
    )
)
shared = st.fixed_dictionaries(
    {"label": texts},
    optional={
        "attributes": st.dictionaries(texts, texts | numbers | st.booleans(), max_size=2),
        "source_label": texts,
        "group": st.integers(0, 99),
        "z_order": st.integers(-5, 5),
        "score": st.floats(0, 1),
        "occluded": st.booleans(),
        "crowd": st.booleans(),
        "id": texts,
    },
)
parts = st.builds(Part, points(3), st.lists(points(3), max_size=2).map(tuple))


def shaped(make: type, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(shared, st.fixed_dictionaries(fields)).map(lambda both: make(**both[0], **both[1]))


labels = st.one_of(
    shaped(Tag, others=st.lists(st.tuples(texts, numbers), max_size=2).map(tuple)),
    # No rotation of -0.0: it is the default, which is not written.
    shaped(Box, x=numbers, y=numbers, width=numbers, height=numbers, rotation=numbers.map(lambda turn: turn + 0.0)),
    shaped(Polygon, parts=st.lists(parts, min_size=1, max_size=2).map(tuple)),
    shaped(Mask, bitmap=bitmaps, left=st.integers(-9, 9), top=st.integers(-9, 9)),
    shaped(Polyline, points=points(2)),
    shaped(
        Keypoints,
        points=points(1),
        names=st.lists(texts, max_size=3).map(tuple),
        visibility=st.lists(st.sampled_from(Visibility), max_size=3).map(tuple),
        box=st.none() | st.tuples(numbers, numbers, numbers, numbers),
    ),
)
samples = st.builds(
    Sample,
    key=texts,
    media=st.sampled_from([PROJECT / "data" / "ä b.jpg", Path("/elsewhere/c.png")]),
    name=texts,
    digest=texts,
    size_wh=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    split=st.none() | st.sampled_from(["train", "val", "test"]),
    tags=st.lists(texts, max_size=2).map(tuple),
    labels=st.lists(labels, max_size=3).map(tuple),
    annotated=st.booleans(),
    fields=st.dictionaries(texts, st.none() | texts | numbers | st.integers() | st.booleans(), max_size=2),
)


def exact(value: Any) -> Any:
    """A sample or label as plain data in which 0.0, -0.0, 1 and True differ."""
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tobytes()
    if hasattr(value, "__dataclass_fields__"):
        return type(value).__name__, [(name, exact(getattr(value, name))) for name in value.__dataclass_fields__]
    if isinstance(value, dict):
        return [(exact(key), exact(inner)) for key, inner in value.items()]
    if isinstance(value, tuple):
        return [exact(inner) for inner in value]
    return type(value).__name__, repr(value)


@settings(max_examples=200, deadline=None)
@given(samples)
def test_a_sample_reads_back_exactly_as_it_was(sample: Sample) -> None:
    line = sample_to_line(sample, PROJECT)
    assert exact(sample_from_json(json.loads(line), PROJECT)) == exact(sample)


def sample(**changes: Any) -> Sample:
    values = {"key": "k", "media": PROJECT / "a.jpg", "name": "a.jpg", "digest": "d", "size_wh": (4, 3)}
    return Sample(**{**values, **changes})


def test_media_inside_the_project_is_stored_relative_to_it() -> None:
    assert sample_to_json(sample(media=PROJECT / "data" / "a.jpg"), PROJECT)["media"] == "data/a.jpg"


def test_media_elsewhere_stays_absolute() -> None:
    assert sample_to_json(sample(media=Path("/projects/a.jpg")), PROJECT)["media"] == "/projects/a.jpg"


def test_the_project_folder_may_move() -> None:
    line = sample_to_line(sample(), PROJECT)
    assert sample_from_json(json.loads(line), Path("/moved")).media == Path("/moved/a.jpg")


def test_saving_counts_labels_by_class(tmp_path: Path) -> None:
    rows = [sample(labels=(Tag(label="a"), Tag(label="b"))), sample(labels=(Tag(label="a"),))]
    assert save_samples(tmp_path / "s.jsonl", rows, tmp_path) == {"a": 2, "b": 1}


def test_one_sample_is_one_line_even_with_line_breaks_in_its_name(tmp_path: Path) -> None:
    save_samples(tmp_path / "s.jsonl", [sample(name="a\n\u2028b")], tmp_path)
    assert (tmp_path / "s.jsonl").read_bytes().count(b"\n") == 1
    assert [row.name for row in load_samples(tmp_path / "s.jsonl", tmp_path)] == ["a\n\u2028b"]


def test_a_file_name_that_is_no_unicode_reads_back(tmp_path: Path) -> None:
    save_samples(tmp_path / "s.jsonl", [sample(media=tmp_path / "\udcff.jpg")], tmp_path)
    assert next(iter(load_samples(tmp_path / "s.jsonl", tmp_path))).media == tmp_path / "\udcff.jpg"


def test_samples_are_read_as_a_stream(tmp_path: Path) -> None:
    save_samples(tmp_path / "s.jsonl", [sample(key="first")], tmp_path)
    with open(tmp_path / "s.jsonl", "a") as file:
        file.write("not json\n")
    assert next(load_samples(tmp_path / "s.jsonl", tmp_path)).key == "first"


@pytest.mark.parametrize(
    "line",
    ["not json", "{}", '{"key": 1', '{"key":"k","media":"a","name":"a","digest":"d","size_wh":[1]}', "[]", "3"],
)
def test_a_line_that_is_no_sample_is_named_with_file_and_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text(f"{sample_to_line(sample(), tmp_path)}\n{line}\n")
    with pytest.raises(FormatError, match=r"s\.jsonl:2: not a sample"):
        list(load_samples(file, tmp_path))


def test_a_coordinate_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    bad = sample(labels=(Box(label="a", x=float("nan"), y=0, width=1, height=1),))
    with pytest.raises(FormatError, match=r"a\.jpg.*not a finite number"):
        save_samples(tmp_path / "s.jsonl", [bad], tmp_path)


def test_a_damaged_mask_is_named_with_its_line(tmp_path: Path) -> None:
    mask = Mask(label="a", bitmap=np.ones((2, 2), dtype=bool), left=0, top=0)
    line = sample_to_line(sample(labels=(mask,)), tmp_path).replace('"place":[0,0,2,2]', '"place":[0,0,3,2]')
    (tmp_path / "s.jsonl").write_text(line + "\n")
    with pytest.raises(FormatError, match=r"s\.jsonl:1"):
        list(load_samples(tmp_path / "s.jsonl", tmp_path))


def test_defaults_are_left_out() -> None:
    assert label_to_json(Tag(label="a")) == {"type": "tag", "label": "a"}
    assert isinstance(label_from_json({"type": "tag", "label": "a"}), Tag)
