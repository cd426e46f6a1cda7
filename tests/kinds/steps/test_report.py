from __future__ import annotations

from pathlib import Path

import pytest

from specrun.kinds.steps.report import LONGEST_LINE, Lines, finite, report
from specrun.model.event import LogLine, Metric, Progress
from tests.support.context import make_context


def lines_of(*chunks: bytes) -> list[str]:
    lines = Lines()
    return [line for chunk in (*chunks, b"") for line in lines.feed(chunk)]


def test_lines_end_with_a_feed_a_return_or_both_also_across_chunks() -> None:
    assert lines_of(b"a\nb\r", b"\nc\rd", b"e\r\n", b"\nf") == ["a", "b", "c", "de", "", "f"]


def test_a_character_may_be_cut_in_two() -> None:
    assert lines_of(b"\xe2\x80", b"\xa2\n\xff") == ["•", "�"]


def test_output_without_line_ends_comes_in_pieces() -> None:
    lines = Lines()
    held = [lines.feed(b"x" * 1000) for _ in range(200)]
    given = [len(line) for found in held for line in found]
    assert given == [66_000, 66_000, 66_000]
    assert given[0] >= LONGEST_LINE
    assert [len(line) for line in lines.feed(b"")] == [2_000]


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), 10**400, "1", None])
def test_what_no_float_holds_is_no_number(value: object) -> None:
    assert finite(value) is None


@pytest.mark.parametrize(
    "line",
    [
        '{"progress": NaN}',
        '{"progress": true}',
        '{"done": 1e999, "total": 3}',
        '{"metric": "a", "step": NaN, "value": 1}',
        '{"metric": "a", "step": 1, "value": 1' + "0" * 400 + "}",
        '{"a": ' * 100_000,
        '{"progress": [0.5]}',
        '{"metric": 3, "step": 1, "value": 1}',
    ],
)
def test_a_line_that_is_no_message_is_logged(tmp_path: Path, line: str) -> None:
    context = make_context(tmp_path, "steps.a")
    report(line, context)
    events = context.events  # type: ignore[attr-defined]
    assert {type(event) for event in events} == {LogLine}
    assert "".join(event.text for event in events) == line


def test_a_total_that_is_no_number_is_unknown(tmp_path: Path) -> None:
    context = make_context(tmp_path, "steps.a")
    report('{"done": 5, "total": NaN, "unit": "images"}', context)
    (event,) = context.events  # type: ignore[attr-defined]
    assert event == Progress(address="steps.a", done=5, total=None, unit="images")


def test_metrics_keep_their_numbers(tmp_path: Path) -> None:
    context = make_context(tmp_path, "steps.a")
    report('{"metric": "loss", "step": 1, "value": 0.5}', context)
    (event,) = context.events  # type: ignore[attr-defined]
    assert event == Metric(address="steps.a", name="loss", step=1, value=0.5)
