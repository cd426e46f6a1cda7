"""The events of a run as a reader gets them, also when nobody wrote their end."""

from __future__ import annotations

from pathlib import Path

from specrun.model.event import Event, LogLine, NodeFinished, NodeStarted, Notice, RunFinished, RunStarted
from specrun.model.plan import Plan
from specrun.model.state import RunRecord
from specrun.run.epilogue import LOG_NAME
from specrun.run.launch import Feed
from specrun.store.journal import JOURNAL_NAME, JournalWriter
from specrun.views.node_view import NodeState
from specrun.views.run_view import RunView
from tests.support.synthetic_run import planned

BEGAN, LAST, NOW = 1000.0, 1030.0, 9000.0
PLAN = Plan("corals", (planned("steps.a"), planned("steps.b"), planned("steps.c")))


def unfinished_journal(folder: Path) -> None:
    """`a` was made, `b` runs, `c` has not begun."""
    times = iter([0.0, BEGAN, 1010.0, 1020.0, LAST])
    with JournalWriter(folder / JOURNAL_NAME, clock=lambda: next(times, LAST)) as journal:
        journal.append(RunStarted(project="corals", spec="project.yaml", plan=PLAN.to_json()))
        journal.append(NodeStarted(address="steps.a"))
        journal.append(NodeFinished(address="steps.a", duration_s=10.0))
        journal.append(NodeStarted(address="steps.b"))


def everything(feed: Feed) -> list[Event]:
    found: list[Event] = []
    while events := feed():
        found += events
    return found


def test_a_run_that_was_killed_has_crashed_at_its_last_sign_of_life(tmp_path: Path) -> None:
    unfinished_journal(tmp_path)
    (tmp_path / LOG_NAME).write_text("Killed\n")
    *_, notice, end = everything(Feed(tmp_path, lambda: False, clock=lambda: NOW))
    assert isinstance(notice, Notice)
    assert "Killed" in notice.text
    assert notice.time == LAST
    assert end == RunFinished(
        run=tmp_path.name, time=LAST, status="crashed", exit_code=3, duration_s=30.0, finished=1, stopped=1, skipped=1
    )


def test_a_run_that_is_killed_while_somebody_looks_has_crashed_now(tmp_path: Path) -> None:
    unfinished_journal(tmp_path)
    alive = [True]
    feed = Feed(tmp_path, lambda: bool(alive), clock=lambda: NOW)
    everything(feed)
    assert feed.finished is None
    alive.clear()
    everything(feed)
    assert feed.finished is not None
    assert (feed.finished.time, feed.finished.duration_s) == (NOW, NOW - BEGAN)


def test_a_journal_that_was_cut_ends_as_the_state_says(tmp_path: Path) -> None:
    unfinished_journal(tmp_path)
    record = RunRecord("r", "2026-01-31T12:00:00+00:00", "2026-01-31T12:01:30+00:00", "done", 0, None)
    end = everything(Feed(tmp_path, lambda: False, record=record))[-1]
    assert isinstance(end, RunFinished)
    assert (end.status, end.exit_code, end.duration_s) == ("done", 0, 90.0)


def test_nothing_runs_in_a_run_that_is_over(tmp_path: Path) -> None:
    unfinished_journal(tmp_path)
    view = RunView()
    for event in everything(Feed(tmp_path, lambda: False)):
        view.apply(event)
    states = [view.of(f"steps.{name}").state for name in "abc"]  # type: ignore[union-attr]
    assert states == [NodeState.DONE, NodeState.STOPPED, NodeState.SKIPPED]
    assert "crashed" in view.of("steps.b").cause  # type: ignore[union-attr]
    assert view.of("steps.b").elapsed(NOW) == 0.0  # type: ignore[union-attr]


def test_what_is_left_out_is_not_told_and_ends_nothing(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / JOURNAL_NAME) as journal:
        for number in range(100):
            journal.append(LogLine(address="steps.a", text=str(number)))
        journal.append(RunFinished(status="done", exit_code=0, duration_s=1.0))
    assert [type(event) for event in everything(Feed(tmp_path, lambda: False, leave_out=("LogLine",)))] == [RunFinished]
