from specrun.model.event import Event, NodeFailed, NodeFinished, NodeSkipped, NodeStarted, NodeWaiting, RunFinished
from specrun.model.plan import Action
from specrun.views.run_view import RunView
from specrun.views.summary import summary_text
from tests.support.golden import check_golden
from tests.support.synthetic_run import START, finished_coral_run, planned, started

M = "models.unet"


def folded(*events: Event, status: str = "done") -> RunView:
    view = RunView()
    view.apply(started(planned(M), planned("sources.a", Action.NONE)))
    for event in events:
        view.apply(event)
    view.apply(RunFinished(status=status, exit_code=0, duration_s=192, time=START + 192))
    return view


def test_summary_of_a_run_with_everything_in_it() -> None:
    view = RunView()
    for event in finished_coral_run():
        view.apply(event)
    before = {"models.detector": {"metrics": {"mAP50(M)": 0.79, "mAP50-95(M)": 0.56}}}
    options = {"previous": before, "base": "/data/corals", "run_folder": ".specrun/runs/4f"}
    check_golden("views/summary_120.txt", summary_text(view, width=120, **options))  # type: ignore[arg-type]
    check_golden("views/summary_80.txt", summary_text(view, width=80, **options))  # type: ignore[arg-type]


def test_it_says_what_was_made_where_and_how_long_it_took() -> None:
    done = NodeFinished(address=M, duration_s=85, facts={"images": 80}, folder="outputs/models/unet")
    text = summary_text(folded(done))
    assert text.splitlines()[0] == "corals · done after 3 min 12 s · 1 made, 1 up to date"
    assert "✔ models.unet  1 min 25 s  80 images  outputs/models/unet" in text


def test_scores_are_held_against_last_time_with_the_right_direction() -> None:
    done = NodeFinished(address=M, duration_s=1, facts={"metrics": {"map50": 0.731, "val/loss": 0.9}})
    before = {M: {"metrics": {"map50": 0.702, "val/loss": 0.5}}}
    text = summary_text(folded(done), previous=before, color=True)
    assert "\x1b[32m▲ was 0.702\x1b[0m" in text
    assert "\x1b[31m▲ was 0.5\x1b[0m" in text


def test_whole_numbers_among_the_facts_are_no_scores() -> None:
    assert "Scores" not in summary_text(folded(NodeFinished(address=M, duration_s=1, facts={"images": 80})))


def test_a_failure_brings_its_cause_hint_log_and_last_lines() -> None:
    failed = NodeFailed(
        address=M, cause="boom", hint="mend it", log=f"{M}/log.txt", last_lines=tuple(f"line {i}" for i in range(30))
    )
    text = summary_text(folded(NodeStarted(address=M), failed, status="failed"), run_folder=".specrun/runs/4f")
    for said in ("✖ models.unet", "boom", "mend it", "log .specrun/runs/4f/models.unet/log.txt", "│ line 29"):
        assert said in text
    assert "│ line 3\n" not in text


def test_nothing_to_do_is_one_line() -> None:
    view = RunView()
    view.apply(started(planned("sources.a", Action.NONE)))
    view.apply(RunFinished(status="done", exit_code=0, duration_s=0.1))
    assert summary_text(view) == "corals · nothing to do, everything is up to date\n"


def test_who_is_waited_for_and_what_was_skipped_is_said() -> None:
    text = summary_text(
        folded(
            NodeWaiting(address="sources.a", missing=("task 3: 2 of 5 frames",)),
            NodeSkipped(address=M, reason="needs sources.a, which waits"),
            status="waiting",
        )
    )
    assert "⏸ sources.a waits for people" in text
    assert "task 3: 2 of 5 frames" in text
    assert "models.unet: needs sources.a, which waits" in text


def test_hostile_text_in_facts_and_failures_is_harmless() -> None:
    text = summary_text(
        folded(
            NodeFinished(address="sources.a", duration_s=1, facts={"lab\x1b[2Jels": {"x\x1b": 3}, "a\x1bb": 0.5}),
            NodeFailed(address=M, cause="\x1b]0;x\x07boom", last_lines=("\x1b[31m",)),
        )
    )
    assert "\x1b" not in text
