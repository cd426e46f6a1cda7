import itertools
import json
from pathlib import Path

import pytest

from specrun.model.event import Event, NodeFinished, NodeStarted, Progress
from specrun.model.plan import Action, Estimate, PlannedNode
from specrun.views.eta import run_eta
from specrun.views.pace import Pace, blend, overall_fraction, steps_of
from specrun.views.run_view import RunView
from tests.support.synthetic_run import START, planned, started

RECORDED = json.loads((Path(__file__).parent / "recorded" / "short_epochs.json").read_text())
"""A training of 40 epochs of 1.3 s, as it reported itself: seconds since the start, done, total, phase."""


def told_by_recording(expected_s: float | None) -> list[tuple[float, float | None]]:
    """What was still to go at each report, in truth and as it was told."""
    pace = Pace()
    pace.restart(0)
    told = []
    for time, done, total, phase in RECORDED["progress"]:
        fraction = overall_fraction(done, total, phase)
        pace.report(time, fraction, steps_of(total, "epochs", phase))
        told.append((RECORDED["seconds"] - time, blend(time, fraction, pace.remaining(time), expected_s)))
    return told


def folded(nodes: tuple[PlannedNode, ...], *events: Event, history: dict[str, float] | None = None) -> RunView:
    view = RunView()
    view.apply(started(*nodes, history=history))
    for event in events:
        view.apply(event)
    return view


@pytest.mark.parametrize(
    ("done", "total", "phase", "fraction"),
    [
        (3, 12, "", 0.25),
        (21, 42, "epoch 3/10", 0.25),
        (3, 10, "epoch 3/10", 0.3),
        (7, None, "", None),
        (7, None, "epoch 3/10", 0.2),
        (20, 10, "", 1.0),
        (0, 0, "", None),
        (5, 10, "read a/b.txt", 0.5),
    ],
)
def test_batches_inside_epochs_count_towards_the_whole(
    done: float, total: float | None, phase: str, fraction: float | None
) -> None:
    assert overall_fraction(done, total, phase) == pytest.approx(fraction)


def test_the_first_epoch_does_not_spoil_the_pace() -> None:
    pace = Pace()
    pace.restart(0)
    pace.report(300, 0.1)  # compiling
    for epoch in range(2, 6):
        pace.report(300 + 60 * (epoch - 1), epoch / 10)
    assert pace.remaining(300 + 240) == pytest.approx(5 * 60)


def test_loading_of_unknown_length_says_nothing_of_the_speed_afterwards() -> None:
    pace = Pace()
    pace.restart(0)
    pace.report(1, None)
    pace.report(200, 0.0)
    pace.report(205, 0.25)
    pace.report(210, 0.5)
    assert pace.remaining(210) == pytest.approx(10)


def test_a_pause_of_unknown_length_between_epochs_forgets_none_of_them() -> None:
    pace = Pace()
    pace.restart(0)
    for epoch in range(1, 5):
        pace.report(60 * epoch, epoch / 10, 10)
        pace.report(60 * epoch + 1, None)
    pace.report(250, 0.41, 10)
    assert pace.remaining(250) == pytest.approx(6 * 60 - 10)


def test_within_a_long_epoch_the_time_left_goes_down() -> None:
    pace = Pace()
    pace.restart(0)
    pace.report(3600, 0.5)
    assert pace.remaining(3600) == pytest.approx(3600)
    assert pace.remaining(3600 + 1800) == pytest.approx(1800)


def test_a_recorded_training_says_nothing_before_the_fourth_epoch_and_then_the_truth() -> None:
    told = told_by_recording(None)
    silent = [left for left, said in told if said is None]
    assert len(silent) < len(told) / 8
    assert all(said is None for _, said in told[: len(silent)])
    assert all(said == pytest.approx(left, rel=0.2, abs=4) for left, said in told[len(silent) :])


@pytest.mark.parametrize("expected_s", [None, 60.0, 80.0, 40.0])
def test_a_recorded_training_never_makes_the_time_left_jump(expected_s: float | None) -> None:
    told = [said for _, said in told_by_recording(expected_s) if said is not None]
    assert max(abs(later - before) for before, later in itertools.pairwise(told)) < 6


def test_of_an_hour_long_epoch_a_part_is_measured() -> None:
    pace = Pace()
    pace.restart(0)
    pace.report(100, 0.0, 10)
    pace.report(300, 0.01, 10)
    assert pace.remaining(300) is None
    pace.report(1900, 0.05, 10)
    assert pace.remaining(1900) == pytest.approx(0.95 * 36_000)


def test_a_resumed_training_counts_only_what_it_did_itself() -> None:
    pace = Pace()
    pace.restart(0)
    for epoch in range(60, 64):
        pace.report(100 * (epoch - 59), epoch / 100, 100)
    assert pace.remaining(400) == pytest.approx(37 * 100)


def test_an_epoch_that_hangs_holds_the_time_left_instead_of_running_to_zero() -> None:
    pace = Pace()
    pace.restart(0)
    for epoch in range(6):
        pace.report(100 * epoch, epoch / 10, 10)
    assert pace.remaining(500 + 5000) == pytest.approx(4 * 100)


def test_a_phase_that_begins_again_restarts_the_pace() -> None:
    pace = Pace()
    pace.restart(0)
    pace.report(10, 0.9)
    pace.report(11, 0.0)
    assert pace.remaining(11) is None


def test_early_on_history_leads_and_later_the_measurement() -> None:
    assert blend(10, 0.0, 500.0, 100.0) == 90
    assert blend(10, 0.5, 500.0, 100.0) == 500
    assert blend(10, 0.125, 500.0, 100.0) == pytest.approx(192.5)


def test_past_its_expectation_without_progress_nothing_is_claimed() -> None:
    assert blend(200, None, None, 100.0) is None


def test_the_run_takes_as_long_as_its_longest_chain() -> None:
    nodes = (
        planned("sources.a", seconds=10),
        planned("sources.b", seconds=50),
        planned("datasets.d", Action.UNKNOWN, "sources.a", "sources.b", seconds=30),
    )
    eta = run_eta(folded(nodes), START)
    assert eta is not None
    assert eta.seconds == 80
    assert eta.complete


def test_history_stands_in_for_a_missing_estimate_and_else_it_is_a_lower_bound() -> None:
    nodes = (planned("sources.a"), planned("sources.b", Action.UNKNOWN, "sources.a"))
    eta = run_eta(folded(nodes, history={"sources.a": 40.0}), START)
    assert eta is not None
    assert (eta.seconds, eta.complete) == (40.0, False)


def test_nodes_that_want_the_gpu_take_turns() -> None:
    nodes = tuple(planned(f"models.m{i}", estimate=Estimate(100, "", 8000)) for i in range(4))
    eta = run_eta(folded(nodes), START)
    assert eta is not None
    assert eta.seconds == 400


def test_a_running_node_counts_with_what_is_left() -> None:
    view = folded(
        (planned("sources.a", seconds=100),),
        NodeStarted(address="sources.a", time=START),
        Progress(address="sources.a", done=5, total=10, time=START + 20),
    )
    eta = run_eta(view, START + 20)
    assert eta is not None
    assert eta.seconds == pytest.approx(20)


def test_nothing_left_has_no_eta() -> None:
    view = folded((planned("sources.a", seconds=9),), NodeFinished(address="sources.a", duration_s=9))
    assert run_eta(view, START) is None


def test_instances_that_are_done_tell_how_long_their_siblings_take() -> None:
    nodes = tuple(planned(f"steps.s[seed={i}]", needs) for i, needs in enumerate([Action.CREATE] * 3))
    view = folded(nodes, NodeFinished(address="steps.s[seed=0]", duration_s=50, time=START + 50))
    eta = run_eta(view, START + 50)
    assert eta is not None
    assert (eta.seconds, eta.complete) == (50, True)


def test_a_lower_bound_of_seconds_is_not_worth_saying() -> None:
    nodes = (planned("sources.a", seconds=4), planned("sources.b", Action.UNKNOWN, "sources.a"))
    assert run_eta(folded(nodes), START) is None
