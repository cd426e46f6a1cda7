from pathlib import Path

import pytest

from specrun.spec import loader
from specrun.spec.loader import parse_tree, read_text
from specrun.spec.report import Report
from specrun.spec.tree import Table, child, plain, positions
from tests.support.specs import lines


def parsed(text: str) -> object:
    report = Report()
    tree = parse_tree(text, "f.yaml", report)
    assert not report.diagnostics(), report.diagnostics()
    assert tree is not None
    return plain(tree)


def mistakes_of(text: str) -> list[str]:
    report = Report()
    report.sources["f.yaml"] = text.split("\n")
    parse_tree(text, "f.yaml", report)
    return lines(list(report.diagnostics()))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("012", 12),
        ("0o14", 12),
        ("0x0C", 12),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("+1", 1),
        ("-", "-"),
        ("1.2.3", "1.2.3"),
        ("~", None),
        ("True", True),
        ('"true"', "true"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("!!int 7", 7),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = parsed(f"key: {text}" if text != "-" else 'key: "-"')
    assert found == {"key": value}
    assert type(found["key"]) is type(value)  # type: ignore[index]


def test_keys_are_text() -> None:
    assert parsed("{0: a, no: b, true: c, 1.5: d, null: e}") == {
        "0": "a",
        "no": "b",
        "true": "c",
        "1.5": "d",
        "null": "e",
    }


def test_every_key_and_item_has_its_place() -> None:
    report = Report()
    tree = parse_tree("a:\n  b: [x, {c: 1}]\n", "f.yaml", report)
    assert tree is not None
    places = {path: (where.line, where.column) for path, where in positions(tree)}
    assert places == {"a": (1, 1), "a.b": (2, 3), "a.b.0": (2, 7), "a.b.1": (2, 10), "a.b.1.c": (2, 11)}


def test_aliases_and_merge_keys_repeat_what_they_name_and_written_keys_win() -> None:
    text = "base: &b {p: 1, q: 2}\none: *b\ntwo: {<<: *b, q: 3}\nthree: {<<: [{q: 9}, *b]}"
    assert parsed(text) == {
        "base": {"p": 1, "q": 2},
        "one": {"p": 1, "q": 2},
        "two": {"p": 1, "q": 3},
        "three": {"p": 1, "q": 9},
    }


def test_a_duplicate_key_shows_both_places() -> None:
    report = Report()
    report.sources["f.yaml"] = ["a: 1", "b: 2", "a: 3"]
    parse_tree("a: 1\nb: 2\na: 3", "f.yaml", report)
    (found,) = report.diagnostics()
    assert str(found) == 'f.yaml:3:1: the key "a" stands twice, first in line 1. Remove one.'
    assert [str(place) for place in found.related] == ["f.yaml:1:1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\tb: 1", "2:1 a tab indents this line. YAML indents with spaces."),
        ("a: b: c", '1:5 a second ": " on this line. Put quotes around the value, or start a new line for the key.'),
        ("a: [1, 2\nb: 3", '1:4 this "[" is never closed. Add "]" where the list or mapping ends.'),
        ("a: {b: 1\nc: 2", '1:4 this "{" is never closed. Add "}" where the list or mapping ends.'),
        ("a: 'x\nb: 1", "1:4 this quote is never closed. Close it, or leave both quotes out."),
        ("a\nb: 1", '2:2 this key follows something that is no mapping. Does the line above miss its ":"?'),
        (
            "a: 1\n  b: 2",
            "2:4 this line is indented deeper than the line above, which already has a value. Align the two.",
        ),
        (
            "a:\n  b: 1\n c: 2",
            "3:2 this line does not fit the indentation of the lines above. Align it with its neighbours.",
        ),
        ("a: @x", "1:4 @ cannot start a value. Put quotes around the value."),
        ("a: *x", "1:4 *x stands before (or inside) the &x that it repeats"),
        ("a: &x [*x]", "1:8 *x stands before (or inside) the &x that it repeats"),
        ("a: !foo 1", "1:4 the tag !foo is not known here; leave it out"),
        (
            "a: !!python/object:x {y: 1}",
            "1:4 the tag tag:yaml.org,2002:python/object:x is not known here; leave it out",
        ),
        ("a: .nan", "1:4 .nan is not a finite number"),
        ("a: 1e999", "1:4 1e999 is too large for a number"),
        (
            "a: \x07",
            "1:4 the control character U+0007 is not allowed in YAML. "
            'Remove it, or write it as "\\x.." inside double quotes.',
        ),
        ("a: 1\n---\nb: 2", "2:1 a second document starts here. A spec is one document: remove `---`."),
        ("? [a]\n: b", "1:3 a key must be a word, not a list or a mapping. Put quotes around it."),
        ("{a: 1}}", "1:7 nothing may follow here: the document has ended. Is there a bracket or a quote too many?"),
        ("a: " + "9" * 5000, "1:4 a number of more than 4000 digits"),
    ],
)  # fmt: skip
def test_yaml_mistakes_are_said_plainly_at_their_place(text: str, message: str) -> None:
    assert mistakes_of(text) == [message]


def test_a_billion_laughs_are_counted_before_they_are_built() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    (found,) = mistakes_of("\n".join(layers))
    assert "more than 500,000 values, aliases counted each time" in found


def test_deep_nesting_is_refused() -> None:
    (found,) = mistakes_of("a: " + "[" * 100 + "]" * 100)
    assert found.endswith("nested more than 64 levels deep")


def test_long_integers_of_other_bases_are_refused_too() -> None:
    assert mistakes_of("a: 0x" + "f" * 5000) == ["1:4 a number of more than 4000 digits"]


def reading(path: Path) -> list[str]:
    report = Report()
    assert read_text(path, path.name, report) is None
    return [str(d) for d in report.diagnostics()]


def test_files_that_cannot_be_read_are_diagnostics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "project.yaml").touch()
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "large.yaml").write_text("a: 1\n" * 10)
    monkeypatch.setattr(loader, "MAX_FILE_BYTES", 10)
    assert reading(tmp_path / "folder") == ['"folder" is a folder, not a file. Did you mean "folder/project.yaml"?']
    assert reading(tmp_path / "large.yaml") == ['"large.yaml" is larger than 0 MiB; a spec is text by people']
    assert reading(tmp_path / "larg.yaml") == ['there is no file "larg.yaml". Did you mean "large.yaml"?']
    monkeypatch.undo()
    assert reading(tmp_path / "latin.yaml") == ["latin.yaml:2:7: byte 0xe9 is not UTF-8. Save the file as UTF-8."]


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    report = Report()
    text = read_text(tmp_path / "a.yaml", "a.yaml", report)
    tree = parse_tree(text or "", "a.yaml", report)
    assert isinstance(tree, Table)
    assert plain(tree) == {"a": 1, "b": 2}
    assert child(tree, "b").where.line == 2  # type: ignore[union-attr]
    assert report.sources["a.yaml"][1] == "b: 2"
