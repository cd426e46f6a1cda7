"""Runs that go on with another plan, by real supervisors and workers."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from specrun.model.address import parse_address
from specrun.model.event import NodeFailed, NodeFinished, NodeQueued, NodeSkipped, NodeStarted, RunAmended, RunFinished
from specrun.model.node import Node
from specrun.run.control import Ask, Wanted, send
from specrun.run.job import Job
from specrun.store.journal import JOURNAL_NAME, read_journal
from specrun.store.paths import ProjectPaths
from specrun.views.node_view import NodeState
from specrun.views.run_view import RunView
from tests.support.jobs import amend, apply, plan_job, python, step
from tests.support.processes import DEADLINE_S, events_of, start_supervisor, until

WAIT = (
    "import os, sys, time; name, value, project = sys.argv[1:4]\n"
    "open('value', 'w').write(value)\n"
    "while not os.path.exists(f'{project}/go-{name}-{value}'): time.sleep(0.02)\n"
)


def waits(name: str, value: str = "old", **more: object) -> Node:
    """A step that ends when a file says so."""
    return step(name, [*python(WAIT), name, value, "${project}"], **more)  # type: ignore[arg-type]


def quick(name: str, value: str = "old", **more: object) -> Node:
    return step(name, python(f"open('value', 'w').write({value!r})"), **more)  # type: ignore[arg-type]


@contextmanager
def going_on(folder: Path, *nodes: Node) -> Iterator[tuple[Job, subprocess.Popen[bytes]]]:
    job = plan_job(folder, nodes)
    supervisor = start_supervisor(job)
    try:
        yield job, supervisor
    finally:
        if supervisor.poll() is None:
            supervisor.kill()
            supervisor.wait()


def happened(job: Job, kind: type, address: str, times: int = 1) -> None:
    def enough() -> bool:
        return [event.address for event in events_of(job, kind)].count(f"steps.{address}") >= times

    until(enough, f"{kind.__name__} of {address}")


def starts(job: Job) -> list[str]:
    return sorted(event.address.removeprefix("steps.") for event in events_of(job, NodeStarted))


def made(folder: Path, name: str) -> str:
    return (folder / f"outputs/steps/{name}/value").read_text()


def view_of(job: Job) -> RunView:
    view = RunView()
    for event in read_journal(ProjectPaths(job.project_dir, job.output_root).run(job.run) / JOURNAL_NAME):
        view.apply(event)
    return view


def test_a_stale_node_begins_anew_in_the_same_run_while_another_goes_on_untouched(tmp_path: Path) -> None:
    with going_on(tmp_path, waits("edited"), waits("other")) as (job, supervisor):
        happened(job, NodeStarted, "edited")
        happened(job, NodeStarted, "other")
        amend(tmp_path, job, [waits("edited", "new"), waits("other")])
        happened(job, NodeStarted, "edited", 2)
        (tmp_path / "go-edited-new").touch()
        happened(job, NodeFinished, "edited")
        assert not events_of(job, RunFinished)
        (tmp_path / "go-other-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    assert starts(job) == ["edited", "edited", "other"]
    assert made(tmp_path, "edited") == "new"
    end = events_of(job, RunFinished)[0]
    assert (end.status, end.finished, end.failed, end.stopped) == ("done", 2, 0, 0)
    folder = ProjectPaths(tmp_path, tmp_path / "outputs").run(job.run)
    reasons = [reason for node in json.loads((folder / "plan.json").read_text())["nodes"] for reason in node["reasons"]]
    assert any("argv" in reason["text"] for reason in reasons)


def test_nodes_are_added_dropped_and_replaced(tmp_path: Path) -> None:
    below = {"inputs": {"from": "steps.long"}}
    with going_on(tmp_path, waits("long"), waits("dropped"), quick("later", **below), quick("never", **below)) as (
        job,
        supervisor,
    ):
        happened(job, NodeStarted, "long")
        happened(job, NodeStarted, "dropped")
        amend(tmp_path, job, [waits("long"), quick("later", "new", **below), quick("added")])
        happened(job, NodeFinished, "added")
        happened(job, NodeFailed, "dropped")
        (tmp_path / "go-long-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    assert starts(job) == ["added", "dropped", "later", "long"]
    assert made(tmp_path, "later") == "new"
    view = view_of(job)
    assert sorted(address.name for address in view.nodes) == ["added", "later", "long"]
    assert view.done_and_total() == (3, 3)


def test_what_was_made_already_is_made_again_with_what_needs_it(tmp_path: Path) -> None:
    below = {"inputs": {"from": "steps.first"}}
    with going_on(tmp_path, quick("first"), quick("second", **below), waits("long")) as (job, supervisor):
        happened(job, NodeFinished, "second")
        amend(tmp_path, job, [quick("first", "new"), quick("second", **below), waits("long")])
        happened(job, NodeFinished, "second", 2)
        (tmp_path / "go-long-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    assert starts(job) == ["first", "first", "long", "second", "second"]


def test_a_failed_node_begins_anew_only_when_it_was_mended(tmp_path: Path) -> None:
    broken = step("broken", python("raise SystemExit('no')"))
    below = quick("below", inputs={"from": "steps.broken"})
    with going_on(tmp_path, broken, below, waits("long")) as (job, supervisor):
        happened(job, NodeSkipped, "below")
        amend(tmp_path, job, [broken, below, waits("long"), quick("added")])
        happened(job, NodeFinished, "added")
        assert starts(job).count("broken") == 1
        assert view_of(job).of("steps.broken").state is NodeState.FAILED
        amend(tmp_path, job, [quick("broken"), below, waits("long"), quick("added")])
        happened(job, NodeFinished, "below")
        (tmp_path / "go-long-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    assert events_of(job, RunFinished)[0].failed == 0


def test_an_amendment_that_changes_nothing_is_not_told(tmp_path: Path) -> None:
    nodes = [waits("a"), quick("b", inputs={"from": "steps.a"})]
    with going_on(tmp_path, *nodes) as (job, supervisor):
        happened(job, NodeStarted, "a")
        amend(tmp_path, job, nodes)
        amend(tmp_path, job, [*nodes, quick("c")])
        happened(job, NodeFinished, "c")
        (tmp_path / "go-a-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    assert len(events_of(job, RunAmended)) == 1


def test_a_node_that_was_found_unchanged_may_be_dropped_and_come_back(tmp_path: Path) -> None:
    below = quick("below", inputs={"from": "steps.first"})
    assert apply(tmp_path, [quick("first"), below]).code == 0
    # The same output by another program: what is below is looked at, and found unchanged.
    first = step("first", python("open('value', 'w').write('old')  # edited"))
    with going_on(tmp_path, first, below, waits("long")) as (job, supervisor):
        happened(job, NodeSkipped, "below")
        amend(tmp_path, job, [first, waits("long"), quick("added")])
        happened(job, NodeFinished, "added")
        (tmp_path / "go-long-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    end = events_of(job, RunFinished)[0]
    assert (end.finished, end.unchanged) == (3, 0)


def test_below_a_node_that_is_made_again_everything_is_stopped_and_waits_for_it(tmp_path: Path) -> None:
    below = {"inputs": {"from": "steps.first"}}
    with going_on(tmp_path, quick("first"), waits("long", **below)) as (job, supervisor):
        happened(job, NodeStarted, "long")
        amend(tmp_path, job, [quick("first", "new"), waits("long", **below)])
        happened(job, NodeFinished, "first", 2)
        (tmp_path / "go-long-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    assert starts(job) == ["first", "first", "long", "long"]
    order = [type(e).__name__ for e in events_of(job, (NodeFinished, NodeStarted)) if e.address == "steps.long"]
    assert order == ["NodeStarted", "NodeStarted", "NodeFinished"]


@pytest.mark.parametrize("moment", ["asked", "told"])
def test_nothing_is_lost_when_the_supervisor_is_killed_in_an_amendment(tmp_path: Path, moment: str) -> None:
    goes_on = (
        "import os, sys, time; again = os.environ['SPECRUN_RESUME'] == '1'\n"
        "open('value', 'a').write('again' if again else 'first')\n"
        "open(sys.argv[1] + '/began', 'w').close()\n"
        "again or time.sleep(600)\n"
    )
    training = step("training", [*python(goes_on), "${project}"], resume=True)
    with going_on(tmp_path, training, quick("first"), waits("edited")) as (job, supervisor):
        happened(job, NodeFinished, "first")
        happened(job, NodeStarted, "edited")
        until((tmp_path / "began").exists, "the training's start")
        nodes = [training, quick("first"), waits("edited", "new")]
        amend(tmp_path, job, nodes)
        if moment == "told":
            until(lambda: bool(events_of(job, RunAmended)), "the amendment")
        supervisor.kill()
        supervisor.wait()
        (tmp_path / "go-edited-new").touch()
        again = plan_job(tmp_path, nodes)
        assert [str(n.action) for n in again.plan.nodes if n.address.name in ("training", "first")] == [
            "resume",
            "none",
        ]
        assert start_supervisor(again).wait(DEADLINE_S) == 0
    assert made(tmp_path, "training") == "firstagain"
    assert made(tmp_path, "edited") == "new"


def test_a_cancelled_node_counts_as_stopped_and_the_run_as_interrupted(tmp_path: Path) -> None:
    from specrun.model.address import parse_address
    from specrun.run.control import Ask, Wanted, send

    with going_on(tmp_path, waits("a"), quick("b")) as (job, supervisor):
        happened(job, NodeStarted, "a")
        send(ProjectPaths(tmp_path, tmp_path / "outputs").run(job.run), Wanted(Ask.CANCEL, parse_address("steps.a")))
        assert supervisor.wait(DEADLINE_S) == 130
    end = events_of(job, RunFinished)[0]
    assert (end.status, end.failed, end.stopped, end.finished) == ("interrupted", 0, 1, 1)
    assert view_of(job).stopped == 1


def test_the_journal_says_at_once_that_the_run_is_stopping(tmp_path: Path) -> None:
    stubborn = python(
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1] + '/began', 'w').close(); time.sleep(600)"
    )
    with going_on(tmp_path, step("a", [*stubborn, "${project}"])) as (job, supervisor):
        until((tmp_path / "began").exists, "the start")
        supervisor.send_signal(signal.SIGTERM)
        until(lambda: view_of(job).status == "stopping", "word of it")
        assert not view_of(job).finished
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(DEADLINE_S) == 143
    assert view_of(job).status == "interrupted"


def test_no_worker_is_left_of_a_node_that_was_dropped(tmp_path: Path) -> None:
    with going_on(tmp_path, waits("a"), waits("b")) as (job, supervisor):
        until(lambda: all(_programs_of(tmp_path, name) for name in ("a", "b")), "the start of both programs")
        amend(tmp_path, job, [waits("b")])
        happened(job, NodeFailed, "a")
        until(lambda: not _programs_of(tmp_path, "a"), "the end of its program")
        assert _programs_of(tmp_path, "b")
        (tmp_path / "go-b-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0


def _programs_of(project: Path, name: str) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])
    return [p for p in found if (p.info["cmdline"] or [])[-3:] == [name, "old", str(project)]]


def test_a_resumed_node_took_as_long_as_all_its_attempts(tmp_path: Path) -> None:
    goes_on = (
        "import os, sys, time; again = os.environ['SPECRUN_RESUME'] == '1'\n"
        "open(sys.argv[1] + '/began', 'w').close()\n"
        "again or time.sleep(600)\n"
    )
    node = step("training", [*python(goes_on), "${project}"], resume=True)
    with going_on(tmp_path, node) as (first, supervisor):
        until((tmp_path / "began").exists, "the start")
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(DEADLINE_S) == 130
    second = plan_job(tmp_path, [node])
    assert start_supervisor(second).wait(DEADLINE_S) == 0
    began, ended = events_of(first, NodeStarted)[0].time, events_of(first, NodeFailed)[0].time
    last = events_of(second, NodeFinished)[0].time - events_of(second, NodeStarted)[0].time
    finished, stopped = events_of(second, NodeFinished)[0], events_of(first, NodeFailed)[0]
    assert finished.duration_s > (ended - began) + last / 2
    assert 0 < finished.earlier_s < finished.duration_s - last / 2
    saved = "What it has done is saved: `specrun apply` goes on with the files that it left."
    assert (stopped.interrupted, stopped.hint) == (True, saved)


def test_a_retry_tells_of_every_node_that_it_brings_back(tmp_path: Path) -> None:
    once = "import os, sys; p = sys.argv[1]; e = os.path.exists(p); open(p, 'w').close(); sys.exit(not e)"
    broken = step("broken", [*python(once), str(tmp_path / "tried")])
    below = quick("below", inputs={"from": "steps.broken"})
    with going_on(tmp_path, broken, below, waits("long")) as (job, supervisor):
        happened(job, NodeSkipped, "below")
        folder = ProjectPaths(tmp_path, tmp_path / "outputs").run(job.run)
        send(folder, Wanted(Ask.RETRY, parse_address("steps.broken")))
        happened(job, NodeFinished, "below")
        (tmp_path / "go-long-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    assert [event.address for event in events_of(job, NodeQueued)] == ["steps.broken", "steps.below"]


def test_a_running_node_is_left_alone_while_what_it_reads_turns_out_the_same(tmp_path: Path) -> None:
    first = "import sys; open('value', 'w').write(sys.argv[1][:3])"
    below = waits("long", inputs={"from": "steps.first"})
    with going_on(tmp_path, step("first", [*python(first), "same"]), below) as (job, supervisor):
        happened(job, NodeStarted, "long")
        amend(tmp_path, job, [step("first", [*python(first), "sameness"]), below])
        happened(job, NodeFinished, "first", 2)
        (tmp_path / "go-long-old").touch()
        assert supervisor.wait(DEADLINE_S) == 0
    assert starts(job) == ["first", "first", "long"]
    assert not events_of(job, NodeFailed)
