from __future__ import annotations

import pytest

from specrun.kinds.captions.template import TemplateMistake, fill_template, template_fields
from specrun.kinds.captions.text import Finish, Tokens, cleaned, is_label_file, rule_count, why_no_caption


def finish(**given: object) -> Finish:
    values = {"trigger": None, "prefix": "", "suffix": "", "clean": True, "max_length": 77, **given}
    return Finish(tokens=Tokens(rule_count), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        ("The image shows a red fish.", "A red fish."),
        ("this picture depicts a reef", "a reef"),
        ('"A reef at dusk"', "A reef at dusk"),
        ("Here is a caption for the picture: Two divers.", "Two divers."),
        ("A fish. A fish. A fish.", "A fish."),
        ("Fish &amp; chips\n\n on a  plate", "Fish & chips on a plate"),
        ("an image is worth it", "an image is worth it"),
        ("The image is of a diver.", "A diver."),
        ("In this picture, a diver.", "A diver."),
        ("The image was taken at night.", "The image was taken at night."),
        ("The picture frame hangs.", "The picture frame hangs."),
    ],
)
def test_what_models_say_is_cleaned(said: str, caption: str) -> None:
    assert cleaned(said) == caption


def test_what_people_write_is_not_cleaned() -> None:
    assert finish().apply("The image shows it.  The image shows it.", by_model=False)[0] == (
        "The image shows it. The image shows it."
    )


def test_the_trigger_stands_in_front_unless_the_caption_holds_it() -> None:
    dressed = finish(trigger="reefx", prefix="photo of ", suffix=", sharp")
    assert dressed.apply("a fish", by_model=False)[0] == "reefx, photo of a fish, sharp"
    assert dressed.apply("a Reefx fish", by_model=False)[0] == "photo of a Reefx fish, sharp"
    assert dressed.apply("reefxyz", by_model=False)[0] == "reefx, photo of reefxyz, sharp"


def test_long_captions_lose_whole_words_and_keep_what_stands_around() -> None:
    caption, cut = finish(trigger="reefx", suffix=" END", max_length=9).apply(
        "one two three, four five", by_model=False
    )
    assert (caption, cut) == ("reefx, one two three END", True)
    assert rule_count(caption) <= 9
    assert finish(max_length=9).apply("one two", by_model=False) == ("one two", False)


def test_tokens_by_rule() -> None:
    assert rule_count("") == 2
    assert rule_count("a fish, red") == 6
    assert rule_count("extraordinarily") == 4


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("<!DOCTYPE html><html>", "is a web page"),
        ('{"error": "busy"}', "is data and no sentence"),
        ("x" * 9000, "is 9,000 characters long"),
        ("a fish < a whale, {really}", None),
    ],
)
def test_what_is_no_caption(text: str, why: str | None) -> None:
    assert why_no_caption(text) == why


def test_label_files_are_recognised() -> None:
    assert is_label_file("0 0.5 0.5 0.1 0.1\n3 .1 .2 .3 .4\n")
    assert not is_label_file("2 fish 0.5 metres long and blue")
    assert not is_label_file("2 fish")


def test_templates_take_names_and_formats_and_nothing_else() -> None:
    assert template_fields("{a} of {b:.1f} {{c}}") == ["a", "b"]
    assert fill_template("{a} of {b:.1f}", {"a": 0, "b": 1.25}) == "0 of 1.2"
    assert fill_template("{a}", {"a": ""}) is None
    for mistaken in ("{a.__class__}", "{a[0]}", "{}", "{a!r}", "{a:{b}}", "{a"):
        with pytest.raises(TemplateMistake):
            template_fields(mistaken)
    with pytest.raises(TemplateMistake, match="does not fit the values"):
        fill_template("{a:.1f}", {"a": "text"})
