from specrun.model.diagnostic import Diagnostic, Position, Severity
from specrun.spec.diagnostics import diagnostic_json, render_diagnostics, wants_color


def rendered(*found: object) -> str:
    return render_diagnostics(found, color=False)


def test_a_mistake_has_its_place_its_line_and_a_caret() -> None:
    found = Diagnostic(Position("p.yaml", 14, 11, 5), "unknown kind.", "Did you mean x?", source_line="    kind: wrong")
    assert (
        rendered(found)
        == "p.yaml:14:11: unknown kind. Did you mean x?\n   14 │     kind: wrong\n      │           ^^^^^\n"
    )


def test_several_are_counted_and_related_places_are_named() -> None:
    first = Diagnostic(Position("p", 1), "a", related=(Position("q", 2, 3),))
    assert rendered(first, Diagnostic(None, "b", severity=Severity.WARNING)) == (
        "p:1:1: a\n       also: q:2:3\n\nwarning: b\n\n1 mistake, 1 warning\n"
    )


def test_a_long_line_is_cut_around_the_place() -> None:
    line = "x" * 300 + "HERE" + "y" * 300
    text = rendered(Diagnostic(Position("p", 1, 301, 4), "m", source_line=line)).splitlines()
    assert all(len(row) <= 130 for row in text)
    assert text[1][text[2].index("^") :].startswith("HERE")


def test_wide_characters_and_tabs_keep_the_caret_in_place() -> None:
    text = rendered(Diagnostic(Position("p", 1, 5, 1), "m", source_line="深海\t: x")).splitlines()
    assert text[2].index("^") - text[2].index("│") == 2 + 4 + 1 + 1


def test_hostile_text_cannot_steer_the_terminal() -> None:
    text = rendered(Diagnostic(Position("p\x1b[2J", 1), "\x1b]0;x\x07", "\u202eevil", source_line="\x9b31m\x08"))
    assert not any(character in text for character in "\x1b\x07\x08\x9b\u202e")


def test_colour_only_on_a_terminal_and_not_with_no_color() -> None:
    found = Diagnostic(Position("p", 1), "m", source_line="x")
    assert "\x1b[31m" in render_diagnostics([found], color=True)
    assert "\x1b" not in render_diagnostics([found], color=False)
    assert wants_color(True, {})
    assert not wants_color(True, {"NO_COLOR": "1"})
    assert not wants_color(True, {"TERM": "dumb"})
    assert not wants_color(False, {})


def test_a_place_on_the_command_line_has_no_line_number() -> None:
    found = Diagnostic(Position("--set a.b", 0, 5, 1), "m", source_line="a.b=1")
    assert rendered(found) == "--set a.b: m\n      │ a.b=1\n      │     ^\n"


def test_json_has_everything_that_the_text_has() -> None:
    found = Diagnostic(Position("p", 1, 2, 3), "m.", "h", Severity.WARNING, "s", (Position("q", 4, 5),))
    assert diagnostic_json(found) == {
        "severity": "warning", "message": "m.", "hint": "h", "file": "p", "line": 1, "column": 2, "length": 3,
        "source_line": "s", "related": [{"file": "q", "line": 4, "column": 5}],
    }  # fmt: skip
