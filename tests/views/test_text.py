import pytest

from specrun.views.text import cells, clean, clip, clip_address, clip_middle, pad, pad_address, wrap


@pytest.mark.parametrize(
    ("hostile", "safe"),
    [
        ("plain", "plain"),
        ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]52;c;c2VjcmV0\x1b\\after", "after"),
        ("a\x08\x08b\x7f\x9b31mc", "abc"),
        ("two\nlines\tand a tab", "two lines    and a tab"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("a\u2028b", "ab"),
        ("Corail mou é 珊瑚", "Corail mou é 珊瑚"),
        ("unfinished \x1b]0;title", "unfinished "),
    ],
)
def test_outside_text_cannot_steer_a_terminal(hostile: str, safe: str) -> None:
    assert clean(hostile) == safe


def test_markup_is_left_alone_because_nobody_renders_it() -> None:
    assert clean("[@click=app.quit]x[/]") == "[@click=app.quit]x[/]"


def test_wide_characters_take_two_cells_and_combining_ones_none() -> None:
    assert cells("珊瑚") == 4
    assert cells("e\u0301") == 1


def test_clipping_never_exceeds_the_width_even_in_the_middle_of_a_wide_character() -> None:
    assert clip("珊瑚礁", 4) == "珊…"
    assert clip("abc", 3) == "abc"
    assert clip("abcd", 3) == "ab…"
    assert clip("abcd", 0) == ""


def test_padding_counts_cells() -> None:
    assert pad("珊", 4) == "珊  "


def test_wrapping_breaks_at_spaces_and_breaks_long_words_anywhere() -> None:
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("a" * 10, 4) == ["aaaa", "aaaa", "aa"]
    assert wrap("no limit at all", 0) == ["no limit at all"]


@pytest.mark.parametrize("width", [1, 2, 3, 7, 20])
def test_wrapped_lines_fit_and_lose_nothing(width: int) -> None:
    text = "some words and averyveryverylongword 珊瑚礁珊瑚礁 end"
    lines = wrap(text, width)
    assert all(cells(line) <= max(width, 2) for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_an_address_keeps_both_ends() -> None:
    assert clip_middle("models.unet[encoder=resnet18,seed=2]", 20) == "models.une…8,seed=2]"
    assert clip_middle("珊瑚礁珊瑚礁", 7) == "珊…瑚礁"
    assert clip_middle("short", 20) == "short"
    assert clip_middle("abcdef", 3) == "ab…"
    assert pad_address("ab", 4) == "ab  "


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (60, "models.unet[encoder=timm-mobilenetv3…all_minimal_100,seed=2]"),
        (38, "models.unet[encoder=timm-…_100,seed=2]"),
        (30, "models.unet[enc…=ti…00,seed=2]"),
    ],
)
def test_of_an_instance_the_longest_value_gives_way_first(width: int, shown: str) -> None:
    found = clip_address("models.unet[encoder=timm-mobilenetv3_small_minimal_100,seed=2]", width)
    assert (found, cells(found) <= width) == (shown, True)


def test_labels_of_instances_are_cut_alike() -> None:
    assert clip_address("encoder=timm-mobilenetv3_small,seed=1", 26) == "encoder=timm-…small,seed=1"
    assert clip_address("models.a_very_long_name_of_a_node", 20) == "models.a_v…of_a_node"
