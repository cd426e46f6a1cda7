import pytest

from specrun.model.address import parse_address
from specrun.model.event import (
    Event,
    GpuSample,
    LogLine,
    Metric,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Progress,
    RunAmended,
    RunFinished,
    RunPaused,
    RunStopping,
    event_from_json,
)
from specrun.model.plan import Action, Cause, Plan, PlannedNode, Reason
from specrun.views.node_view import MAX_LOG_LINES, NodeState, NodeView
from specrun.views.run_view import RunView
from tests.support.synthetic_run import START, finished_coral_run, planned, started

M = "models.unet"


def folded(*events: Event) -> RunView:
    view = RunView()
    view.apply(started(planned(M), planned("sources.a", Action.NONE), planned("sources.b", Action.WAIT)))
    for event in events:
        view.apply(event)
    return view


def node(view: RunView, address: str = M) -> NodeView:
    found = view.of(address)
    assert found is not None
    return found


def begun(time: float = START, **more: object) -> NodeStarted:
    return NodeStarted(address=M, time=time, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (NodeQueued(address=M), NodeState.QUEUED),
        (NodeStarted(address=M), NodeState.RUNNING),
        (NodeRetrying(address=M, attempt=2, delay_s=3, cause="busy"), NodeState.RETRYING),
        (NodeWaiting(address=M, missing=("3 tasks",)), NodeState.WAITING),
        (NodeFinished(address=M, duration_s=1), NodeState.DONE),
        (NodeSkipped(address=M, reason="unchanged", unchanged=True), NodeState.UNCHANGED),
        (NodeSkipped(address=M, reason="the run was stopped"), NodeState.SKIPPED),
        (NodeFailed(address=M, cause="boom"), NodeState.FAILED),
        (NodeFailed(address=M, cause="stopped", interrupted=True), NodeState.STOPPED),
    ],
)
def test_each_event_leads_to_its_state(event: Event, state: NodeState) -> None:
    assert node(folded(event)).state is state


def test_the_plan_decides_the_first_states() -> None:
    view = folded()
    assert node(view).state is NodeState.QUEUED
    assert node(view, "sources.a").state is NodeState.UNCHANGED
    assert node(view, "sources.b").state is NodeState.WAITING
    assert node(view, "sources.b").missing == ("7 of 10 tasks completed",)
    assert view.done_and_total() == (0, 1)


def test_progress_metrics_and_log_are_kept() -> None:
    view = folded(
        begun(),
        Progress(address=M, done=3, total=12, unit="images", time=START + 1),
        Metric(address=M, name="loss", step=1, value=0.5),
        Metric(address=M, name="loss", step=2, value=0.25),
        LogLine(address=M, text="hello \x1b[31mred"),
    )
    unet = node(view)
    assert unet.progress.fraction == 0.25
    assert unet.metrics["loss"].points == [(1, 0.5), (2, 0.25)]
    assert list(unet.log) == ["hello red"]


def test_a_node_keeps_the_end_of_its_log_only() -> None:
    view = folded(*(LogLine(address=M, text=str(i)) for i in range(5 * MAX_LOG_LINES)))
    assert len(node(view).log) == MAX_LOG_LINES
    assert node(view).log_count == 5 * MAX_LOG_LINES
    assert node(view).log[-1] == str(5 * MAX_LOG_LINES - 1)


def test_elapsed_moves_with_now_and_stops_at_the_end() -> None:
    view = folded(begun(START + 10))
    assert node(view).elapsed(START + 25) == 15
    view.apply(NodeFinished(address=M, duration_s=20, time=START + 30))
    assert node(view).elapsed(START + 999) == 20


def test_a_second_attempt_starts_its_progress_anew_and_keeps_its_curves() -> None:
    view = folded(
        begun(),
        Metric(address=M, name="loss", step=1, value=0.5),
        Progress(address=M, done=3, total=4),
        NodeRetrying(address=M, attempt=2, delay_s=5, cause="server busy", time=START + 5),
        begun(START + 10, attempt=2),
    )
    assert node(view).progress.fraction is None
    assert node(view).attempt == 2
    assert "loss" in node(view).metrics
    assert node(view).reason == ""


def test_a_failure_without_last_lines_takes_them_from_the_log() -> None:
    view = folded(begun(), LogLine(address=M, text="the end"), NodeFailed(address=M, cause="boom", hint="mend it"))
    assert node(view).last_lines == ("the end",)
    assert node(view).hint == "mend it"


def test_an_interrupted_node_has_a_sign_of_its_own() -> None:
    assert node(folded(NodeFailed(address=M, cause="stopped", interrupted=True))).sign == "■"


def test_a_node_that_the_plan_did_not_name_is_shown_and_a_broken_address_is_not() -> None:
    view = folded(LogLine(address="steps.extra", text="x"), LogLine(address="no address at all", text="x"))
    assert view.of("steps.extra") is not None
    assert len(view.nodes) == 4


def test_gpu_histories_are_bounded_and_know_who_uses_them() -> None:
    samples = [GpuSample(index=0, utilisation=50.0, memory_used_mib=1, memory_total_mib=4) for _ in range(1000)]
    view = folded(begun(gpus=(0,)), *samples)
    assert len(view.gpus[0].utilisation) == 240
    assert view.gpus[0].memory[-1] == 25.0
    assert [str(n.address) for n in view.node_on_gpu(0)] == [M]


def test_the_end_of_the_run_is_known() -> None:
    view = folded(RunPaused(paused=True), RunFinished(status="done", exit_code=0, duration_s=12, time=START + 12))
    assert view.finished
    assert view.paused
    assert view.elapsed(START + 99) == 12


def test_folding_the_journals_json_gives_the_same_view() -> None:
    events = finished_coral_run()
    direct, read = RunView(), RunView()
    for event in events:
        direct.apply(event)
        again = event_from_json(event.to_json())
        assert again is not None
        read.apply(again)
    assert {a: n.state for a, n in direct.nodes.items()} == {a: n.state for a, n in read.nodes.items()}
    assert direct.counts() == read.counts()


def test_another_plan_adds_drops_and_queues_nodes_and_leaves_the_rest_as_it_is() -> None:
    view = folded(
        NodeStarted(address="sources.a", time=START),
        NodeFinished(address="sources.a", duration_s=3, time=START + 3),
        NodeStarted(address="models.m", time=START + 3),
        NodeStarted(address="models.gone", time=START + 3),
    )
    before = view.structure
    plan = Plan(
        "corals",
        (
            PlannedNode(parse_address("sources.a"), "sources.images", Action.CREATE),
            PlannedNode(parse_address("exports.new"), "exports.yolo", Action.CREATE),
            PlannedNode(parse_address("models.m"), "models.ultralytics", Action.UPDATE),
        ),
    )
    view.apply(RunAmended(plan=plan.to_json(), queued=("exports.new",), time=START + 4))
    states = {node.address.text: node.state for node in view.nodes.values()}
    assert states == {
        "sources.a": NodeState.DONE,
        "exports.new": NodeState.QUEUED,
        "models.m": NodeState.RUNNING,
        "models.gone": NodeState.RUNNING,
    }
    assert list(states)[1] == "exports.new"
    assert view.structure > before
    view.apply(NodeFailed(address="models.gone", cause="not wanted", interrupted=True, time=START + 5))
    view.apply(NodeFailed(address="models.m", cause="changed", interrupted=True, time=START + 5))
    assert view.stopped == 1
    view.apply(NodeQueued(address="models.m", time=START + 5))
    assert view.of("models.gone") is None
    assert view.stopped == 0
    assert view.done_and_total() == (1, 3)


def test_a_node_that_was_made_and_waits_again_starts_from_nothing() -> None:
    view = folded(NodeStarted(address="sources.a", time=START), NodeFinished(address="sources.a", duration_s=3))
    plan = Plan("corals", (PlannedNode(parse_address("sources.a"), "sources.images", Action.UPDATE),))
    view.apply(RunAmended(plan=plan.to_json(), queued=("sources.a",), history={"sources.a": 3.0}))
    again = node(view, "sources.a")
    assert (again.state, again.elapsed(START + 99), again.expected_s) == (NodeState.QUEUED, None, 3.0)


def test_what_waits_for_people_by_another_plan_shows_whom() -> None:
    view = folded()
    reasons = (Reason(Cause.PEOPLE, "ann: task 7"),)
    plan = Plan("corals", (PlannedNode(parse_address("sources.a"), "sources.images", Action.WAIT, reasons),))
    view.apply(RunAmended(plan=plan.to_json()))
    waits = node(view, "sources.a")
    assert (waits.state, waits.missing) == (NodeState.WAITING, ("ann: task 7",))
    assert waits not in view.to_do


def test_a_run_that_is_stopping_is_not_over() -> None:
    view = folded(RunStopping())
    assert (view.status, view.finished) == ("stopping", False)


def shares(*events: Event) -> list[tuple[str, str]]:
    """Percent and phase after each event."""
    view = RunView()
    found = []
    for event in (started(planned(M)), begun(), *events):
        view.apply(event)
        progress = node(view).progress
        found.append((progress.percent, progress.said))
    return found[2:]


def test_progress_never_falls_and_preparing_does_not_eat_it() -> None:
    assert shares(
        Progress(address=M, done=0, phase="starting PyTorch"),
        Progress(address=M, done=11, total=12, unit="images", phase="reading label maps, train", part=True),
        Progress(address=M, done=0.5, total=4, unit="epochs", phase="epoch 1/4"),
        Progress(address=M, done=1, total=2, unit="pictures", phase="painting samples at step 20", part=True),
        Progress(address=M, done=3, total=4, unit="epochs", phase="epoch 4/4"),
        Progress(address=M, done=0.1, total=4, unit="epochs", phase="epoch 1/4"),
        Progress(address=M, done=4, total=4, unit="epochs", phase="saving"),
        Progress(address=M, done=0, phase="exporting to onnx"),
    ) == [
        ("", "starting PyTorch"),
        ("", "reading label maps, train 11/12"),
        ("12%", "epoch 1/4"),
        ("12%", "painting samples at step 20 1/2"),
        ("75%", "epoch 4/4"),
        ("75%", "epoch 1/4"),
        ("99%", "saving"),
        ("99%", "exporting to onnx"),
    ]


def test_a_second_pass_over_the_same_things_tells_how_far_it_is_by_itself() -> None:
    assert shares(
        Progress(address=M, done=10, total=10, unit="images", phase="first"),
        Progress(address=M, done=3, total=10, unit="images", phase="second"),
    ) == [("99%", "first"), ("99%", "second 3/10")]


def test_what_comes_after_the_last_step_has_no_time_left_by_its_speed() -> None:
    steps = [
        Progress(address=M, done=i, total=40, unit="steps", phase=f"step {i}/40", time=START + i) for i in range(40)
    ]
    view = folded(begun(), *steps)
    assert node(view).remaining(START + 39) == pytest.approx(1, abs=0.1)
    view.apply(Progress(address=M, done=40, total=40, unit="steps", phase="saving the weights", time=START + 40))
    assert node(view).remaining(START + 41) is None


def test_the_time_left_of_a_part_is_not_that_of_the_node() -> None:
    part = [
        Progress(address=M, done=i, total=20, phase="encoding pictures", part=True, time=START + i)
        for i in range(1, 19)
    ]
    assert node(folded(begun(), *part)).remaining(START + 19) is None
