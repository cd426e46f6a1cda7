from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specrun.formats.export_names import export_stems, folder_names, safe_name
from specrun.model.labels import Sample


def sample(name, key=None):
    return Sample(key=key or f"s/{name}", media=Path("/m") / name, name=name, digest="d", size_wh=(4, 3))


def stems(*names):
    return export_stems([sample(name) for name in names])


def test_a_unique_file_name_is_kept():
    assert stems("reef/2021/a.jpg", "b.c.png") == ["a", "b.c"]


def test_equal_names_get_their_folders():
    assert stems("p/a.jpg", "q/a.jpg", "b.jpg") == ["p__a", "q__a", "b"]


def test_names_that_differ_in_suffix_only_share_no_label_file():
    assert stems("a.jpg", "a.png") == ["a_jpg", "a_png"]


def test_names_that_differ_in_case_only_are_told_apart():
    first, second = stems("a.jpg", "A.jpg")
    assert first.casefold() != second.casefold()


def test_the_same_name_in_two_sources_gets_the_digest_of_its_key():
    first, second = export_stems([sample("a.jpg", "one/a.jpg"), sample("a.jpg", "two/a.jpg")])
    assert first != second
    assert first.startswith("a-")


def test_a_disambiguated_name_never_takes_one_that_is_in_use():
    assert len(set(stems("p/a.jpg", "q/a.jpg", "p__a.jpg"))) == 3


@given(st.lists(st.text("aAb./ é_", min_size=1, max_size=6), min_size=1, max_size=8, unique=True))
def test_stems_are_unique_and_do_not_depend_on_the_order(names):
    samples = [sample(name) for name in names]
    forward = dict(zip(names, export_stems(samples), strict=True))
    backward = dict(zip(names[::-1], export_stems(samples[::-1]), strict=True))
    assert forward == backward
    assert len({stem.casefold() for stem in forward.values()}) == len(names)
    assert all("/" not in stem and stem.strip(".") for stem in forward.values())


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Récif été 海", "Récif été 海"),
        ("e\u0301", "é"),
        ("Pavona/Leptoseris", "Pavona_Leptoseris"),
        ("a\n\x1b[31mb", "a__[31mb"),
        ("..", "_"),
        ("con", "_con"),
        ("a\u202egpj", "a_gpj"),
        ("", "_"),
    ],
)
def test_names_are_safe_for_file_systems_and_stay_readable(text, safe):
    assert safe_name(text) == safe


def test_long_names_are_cut_with_a_digest():
    assert len(safe_name("é" * 300).encode()) <= 180
    assert safe_name("a" * 300) != safe_name("a" * 301)


def test_classes_that_would_share_a_folder_are_told_apart():
    names = folder_names(["a/b", "a:b", "c"])
    assert names["c"] == "c"
    assert len(set(names.values())) == 3
