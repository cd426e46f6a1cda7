"""Runs of little step graphs by the real executor, with real worker processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from specrun.model.address import parse_address
from specrun.model.event import (
    ArtifactMade,
    Event,
    LogLine,
    Metric,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    Progress,
    RunAmended,
    RunFinished,
    RunStarted,
)
from specrun.model.plan import Action
from specrun.planner.compile import Wish
from specrun.run.control import Ask, Wanted, send
from specrun.run.supervisor import Supervision, supervise
from specrun.run.workers import WorkerPool
from specrun.store.paths import ProjectPaths
from tests.support.jobs import apply, plan_job, python, step

WRITE = "open('{}', 'w').write('{}')"


def test_steps_run_in_order_and_their_outputs_are_published(tmp_path: Path) -> None:
    first = step("first", python(WRITE.format("a.txt", "hello")), outputs={"text": "a.txt"})
    copy = "import sys; open('b.txt','w').write(open(sys.argv[1] + '/a.txt').read().upper())"
    second = step("second", [*python(copy), "${inputs.text}"], inputs={"text": "steps.first"})
    ran = apply(tmp_path, [first, second])
    assert ran.code == 0
    assert (tmp_path / "outputs/steps/second/b.txt").read_text() == "HELLO"
    assert ran.addresses(NodeFinished) == ["steps.first", "steps.second"]
    assert ran.addresses(ArtifactMade) == ["steps.first"]
    assert isinstance(ran.events[0], RunStarted)
    assert isinstance(ran.events[-1], RunFinished)
    assert [e.seq for e in ran.events] == list(range(1, len(ran.events) + 1))
    assert not list((tmp_path / "outputs/.staging").rglob("*.txt"))


def test_a_node_runs_with_its_own_seed_else_with_that_of_the_project(tmp_path: Path) -> None:
    write = python("import os; open('seed', 'w').write(os.environ['SPECRUN_SEED'])")
    nodes = [replace(step("own", write), seed=7), step("projects", write)]
    assert apply(tmp_path, nodes).code == 0
    assert [(tmp_path / f"outputs/steps/{name}/seed").read_text() for name in ("own", "projects")] == ["7", "42"]


def test_an_unchanged_project_has_nothing_to_do(tmp_path: Path) -> None:
    nodes = [step("a", python(WRITE.format("x", "1"))), step("b", python("pass"), inputs={"a": "steps.a"})]
    apply(tmp_path, nodes)
    assert not plan_job(tmp_path, nodes).plan.has_changes


def test_a_remake_that_changes_nothing_stops_there(tmp_path: Path) -> None:
    a = step("a", python(WRITE.format("x", "1")))
    b = step("b", python("pass"), inputs={"a": "steps.a"})
    apply(tmp_path, [a, b])
    same_output = step("a", [*python(WRITE.format("x", "1")), "ignored"])
    ran = apply(tmp_path, [same_output, b])
    assert [p.action for p in ran.plan.nodes] == [Action.UPDATE, Action.UNKNOWN]
    assert ran.addresses(NodeStarted) == ["steps.a"]
    assert [(e.address, e.unchanged) for e in ran.of(NodeSkipped)] == [("steps.b", True)]
    assert not plan_job(tmp_path, [same_output, b]).plan.has_changes


def test_a_failed_step_skips_its_dependents_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad = step("bad", python("print('the reason'); raise SystemExit(3)"))
    below = step("below", python("pass"), inputs={"bad": "steps.bad"})
    other = step("other", python("pass"))
    ran = apply(tmp_path, [bad, below, other])
    assert ran.code == 1
    (failed,) = ran.of(NodeFailed)
    assert "exit status 3" in failed.cause
    assert failed.last_lines == ("the reason",)
    assert ran.addresses(NodeSkipped) == ["steps.below"]
    assert ran.addresses(NodeFinished) == ["steps.other"]
    assert plan_job(tmp_path, [bad, below, other]).plan.of(bad.address).action is Action.RESUME


def test_a_failure_leaves_the_old_output_as_it_was(tmp_path: Path) -> None:
    apply(tmp_path, [step("a", python(WRITE.format("x", "old")))])
    ran = apply(tmp_path, [step("a", python(WRITE.format("x", "new") + "; raise SystemExit(1)"))])
    assert ran.code == 1
    assert (tmp_path / "outputs/steps/a/x").read_text() == "old"


def test_retries_are_taken_and_told(tmp_path: Path) -> None:
    flaky = (
        "import os, sys; p = sys.argv[1] + '/count'; n = int(open(p).read()) if os.path.exists(p) else 0; "
        "open(p, 'w').write(str(n + 1)); raise SystemExit(n < 1)"
    )
    ran = apply(tmp_path, [step("a", [*python(flaky), "${project}"], retries=2)])
    assert ran.code == 0
    assert len(ran.of(NodeRetrying)) == 1


def test_progress_metrics_and_log_lines_are_told(tmp_path: Path) -> None:
    code = (
        'print(\'{"done": 2, "total": 4, "unit": "images", "phase": "copy"}\'); '
        'print(\'{"metric": "loss", "step": 1, "value": 0.5}\'); print("plain", "50%")'
    )
    ran = apply(tmp_path, [step("a", python(code))])
    assert [(p.done, p.total, p.unit) for p in ran.of(Progress)] == [(2, 4, "images"), (50, 100, "%")]
    assert [(m.name, m.value) for m in ran.of(Metric)] == [("loss", 0.5)]
    assert [line.text for line in ran.of(LogLine)] == ["plain 50%"]


def test_a_deleted_output_is_made_again_and_named(tmp_path: Path) -> None:
    node = step("a", python(WRITE.format("x", "1")))
    apply(tmp_path, [node])
    (tmp_path / "outputs/steps/a/x").unlink()
    (planned,) = plan_job(tmp_path, [node]).plan.nodes
    assert planned.reasons[0].text == "outputs/steps/a/x was deleted"
    assert apply(tmp_path, [node]).code == 0
    assert (tmp_path / "outputs/steps/a/x").exists()


def test_an_edited_script_makes_its_step_stale(tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text("open('x', 'w').write('1')")
    node = step("a", ["python", "make.py"])
    assert apply(tmp_path, [node]).code == 0
    (tmp_path / "make.py").write_text("open('x', 'w').write('22')")
    assert [r.text for r in plan_job(tmp_path, [node]).plan.nodes[0].reasons] == ["make.py changed"]


def test_replace_makes_anew_what_is_up_to_date(tmp_path: Path) -> None:
    node = step("a", python(WRITE.format("x", "1")))
    apply(tmp_path, [node])
    ran = apply(tmp_path, [node], Wish(replace=(node.address,)))
    assert ran.addresses(NodeFinished) == ["steps.a"]
    told = [json.loads(path.read_text())["replaced"] for path in (tmp_path / ".specrun/runs").rglob("request.json")]
    assert sorted(told) == [False, True]


def test_a_lost_state_is_found_again_without_making_anything(tmp_path: Path) -> None:
    node = step("a", python(WRITE.format("x", "1")))
    apply(tmp_path, [node])
    for file in (tmp_path / ".specrun").glob("state.db*"):
        file.unlink()
    ran = apply(tmp_path, [node])
    assert ran.addresses(NodeFinished) == ["steps.a"]
    assert ran.of(NodeStarted) == []


def test_a_step_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    ran = apply(tmp_path, [step("a", python("import time; time.sleep(600)"), timeout_s=0.5)])
    assert "longer than its timeout" in ran.of(NodeFailed)[0].cause


def test_a_missing_declared_output_is_an_error(tmp_path: Path) -> None:
    ran = apply(tmp_path, [step("a", python("pass"), outputs={"model": "best.pth"})])
    assert "there is no best.pth" in ran.of(NodeFailed)[0].cause


def test_a_node_that_needs_what_was_never_made_says_so(tmp_path: Path) -> None:
    off = replace(step("a", python("pass")), enabled=False)
    below = step("b", python("pass"), inputs={"a": "steps.a"})
    job = plan_job(tmp_path, [off, below])
    assert job.plan.of(parse_address("steps.b")).action is Action.DISABLED


def test_a_place_that_somebody_else_took_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "outputs/steps/a").mkdir(parents=True)
    (tmp_path / "outputs/steps/a/mine.txt").write_text("by hand")
    ran = apply(tmp_path, [step("a", python("pass"))])
    assert "was not made by specrun" in ran.of(NodeFailed)[0].cause
    assert ran.of(NodeStarted) == []
    assert (tmp_path / "outputs/steps/a/mine.txt").read_text() == "by hand"


def test_a_node_that_waits_can_be_cancelled_too(tmp_path: Path) -> None:
    first, second = step("a", python("pass")), step("b", python("pass"), inputs={"a": "steps.a"})
    third = step("c", python("pass"), inputs={"b": "steps.b"})
    job = plan_job(tmp_path, [first, second, third])
    run_folder = ProjectPaths(tmp_path, tmp_path / "outputs").run(job.run)
    events: list[Event] = []

    def cancel_second(event: Event) -> None:
        events.append(event)
        if isinstance(event, RunStarted):
            send(run_folder, Wanted(Ask.CANCEL, second.address))

    slow = replace(job, nodes=(step("a", python("import time; time.sleep(2)")), second, third))
    supervise(slow, Supervision(listeners=[cancel_second]))
    skipped = {event.address: event.reason for event in events if isinstance(event, NodeSkipped)}
    assert skipped == {"steps.b": "cancelled", "steps.c": "needs steps.b, which did not run"}


ONCE_BROKEN = "import os, sys\nif not os.path.exists(sys.argv[1]):\n    open(sys.argv[1], 'w')\n    sys.exit('no')\n"


def test_a_retry_that_comes_as_a_run_ends_is_taken_up(tmp_path: Path) -> None:
    flaky = step("flaky", [*python(ONCE_BROKEN), str(tmp_path / "tried")])
    below = step("below", python("open('x', 'w')"), inputs={"from": "steps.flaky"})
    job = plan_job(tmp_path, [flaky, below])
    events: list[Event] = []

    def try_again_at_once(event: Event) -> None:
        events.append(event)
        if isinstance(event, NodeFailed):
            folder = ProjectPaths(tmp_path, tmp_path / "outputs").run(job.run)
            send(folder, Wanted(Ask.RETRY, flaky.address))

    assert supervise(job, Supervision(listeners=[try_again_at_once])) == 0
    end = events[-1]
    assert isinstance(end, RunFinished)
    assert (end.status, end.finished, end.failed) == ("done", 2, 0)


@pytest.mark.parametrize("ask", [Ask.RETRY, Ask.AMEND])
def test_what_is_asked_while_the_workers_end_is_done_before_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    flaky = step("flaky", [*python(ONCE_BROKEN), str(tmp_path / "tried")])
    mended = step("flaky", python("open('x', 'w')"))
    job, other = plan_job(tmp_path, [flaky]), plan_job(tmp_path, [mended])
    folder = ProjectPaths(tmp_path, tmp_path / "outputs").run(job.run)
    events: list[Event] = []
    close, closing, heard = WorkerPool.close, [], anyio.Event()

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, NodeQueued | RunAmended):
            heard.set()

    async def close_slowly(pool: WorkerPool) -> None:
        if not closing:
            closing.append(pool)
            send(folder, Wanted(ask, flaky.address, other.save_amendment(folder)))
            with anyio.fail_after(30):
                await heard.wait()
        await close(pool)

    monkeypatch.setattr(WorkerPool, "close", close_slowly)
    assert supervise(job, Supervision(listeners=[hear])) == 0
    end = events[-1]
    assert isinstance(end, RunFinished)
    assert (end.status, end.finished, end.failed, end.stopped) == ("done", 1, 0, 0)


@pytest.mark.parametrize(("name", "value"), [(None, ""), ("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_threads_that_wait_do_not_spin_unless_the_user_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, value: str
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if name:
        monkeypatch.setenv(name, value)
    write = python("import os; open('seen', 'w').write(os.environ.get('GOMP_SPINCOUNT', 'none'))")
    assert apply(tmp_path, [step("a", write)]).code == 0
    wanted = "10000" if name is None else "7" if name == "GOMP_SPINCOUNT" else "none"
    assert (tmp_path / "outputs/steps/a/seen").read_text() == wanted
