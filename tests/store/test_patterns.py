from __future__ import annotations

import pytest

from specrun.store.patterns import compile_folders, compile_patterns, names_hidden


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("**/*", ["a", "a/b/c.jpg"], [".a", "a/.b/c", "a/.c"]),
        ("**", ["a", "a/b/c.jpg"], [".a"]),
        ("*.jpg", ["a.jpg", "é.jpg"], ["b/a.jpg", "a.JPG", "a.jpgx", ".jpg"]),
        ("**/*.jpg", ["a.jpg", "b/c/a.jpg"], ["a.png", "b/.c/a.jpg"]),
        ("**/*.{jpg,png}", ["a.jpg", "b/a.png"], ["a.gif", "a.{jpg,png}"]),
        ("{a,b/{c,d}}/*", ["a/x", "b/c/x", "b/d/x"], ["b/x", "c/x"]),
        ("raw/", ["raw/a", "raw/b/c"], ["raw", "rawest/a"]),
        ("raw/**", ["raw/a", "raw/b/c"], ["raw", "a/raw/b"]),
        ("./a/*", ["a/b"], ["a/b/c"]),
        ("**/**/a", ["a", "x/a", "x/y/a"], ["xa"]),
        ("x/x/*", ["x/x/a"], ["x/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "ab"]),
        ("**/raw/**/*.jpg", ["raw/a.jpg", "x/raw/y/a.jpg"], ["a.jpg", "xraw/a.jpg"]),
        ("img_?.jpg", ["img_1.jpg"], ["img_12.jpg", "img_/.jpg"]),
        ("[ab]*.jpg", ["a1.jpg", "b.jpg"], ["c.jpg"]),
        ("[!ab].jpg", ["c.jpg"], ["a.jpg", "/.jpg", "..jpg"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[ab", ["[ab"], ["a"]),
        ("[a\\]", ["a", "\\"], ["]"]),
        (".thumbs/*", [".thumbs/a"], ["thumbs/a", ".thumbs/.a"]),
        ("**/.keep", [".keep", "a/.keep"], ["keep"]),
        ("a+b(1).jpg", ["a+b(1).jpg"], ["aab1.jpg"]),
        ("line\nbreak*", ["line\nbreak.jpg"], ["line"]),
    ],
)
def test_pattern(pattern: str, covered: list[str], not_covered: list[str]) -> None:
    match = compile_patterns([pattern]).fullmatch
    assert [path for path in covered if not match(path)] == []
    assert [path for path in not_covered if match(path)] == []


def test_any_of_several_patterns_covers() -> None:
    match = compile_patterns(["*.jpg", "*.png"]).fullmatch
    assert match("a.jpg")
    assert match("a.png")
    assert not compile_patterns([]).fullmatch("a")


def test_folders_that_are_covered_whole_need_no_walk() -> None:
    match = compile_folders(["raw/**", "**/cache/**/*", "old/", "some/*.jpg"]).fullmatch
    assert [folder for folder in ("raw", "a/cache", "cache", "old") if not match(folder)] == []
    assert [folder for folder in ("some", "raw2", "a/raw") if match(folder)] == []


def test_hidden_folders_are_walked_only_when_a_pattern_spells_the_dot() -> None:
    assert not names_hidden(["**/*", "a.jpg"])
    assert names_hidden(["a/{b,.c}/*"])


def test_many_stars_do_not_take_forever() -> None:
    assert not compile_patterns(["**/**/**/**/*a*a*a*.jpg"]).fullmatch("a/" * 30 + "a" * 60)
