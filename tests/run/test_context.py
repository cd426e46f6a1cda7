from __future__ import annotations

import math
from pathlib import Path

from specrun.model.event import LogLine, Progress
from specrun.run.context import LONGEST_LINE
from tests.support.context import make_context


def test_progress_that_is_not_finite_is_not_told(tmp_path: Path) -> None:
    context = make_context(tmp_path, "steps.a")
    context.progress(math.nan, 3)
    context.progress(1, math.inf)
    assert context.events == [Progress(address="steps.a", done=1, total=None)]  # type: ignore[attr-defined]


def test_a_metric_that_is_not_finite_is_logged(tmp_path: Path) -> None:
    context = make_context(tmp_path, "steps.a")
    context.metric("loss", math.nan, 1)
    context.metric("loss", 1, math.inf)
    assert [type(event) for event in context.events] == [LogLine, LogLine]  # type: ignore[attr-defined]


def test_a_long_line_of_the_log_is_broken(tmp_path: Path) -> None:
    context = make_context(tmp_path, "steps.a")
    context.log("x" * (LONGEST_LINE + 1) + "\n\nshort")
    assert [len(event.text) for event in context.events] == [LONGEST_LINE, 1, 0, 5]  # type: ignore[attr-defined]
