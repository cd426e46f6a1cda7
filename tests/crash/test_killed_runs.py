"""kill -9 on the supervisor at odd moments: what is finished stays, nothing half-written is published, and no
worker is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from specrun.model.event import NodeFinished, NodeStarted
from specrun.model.plan import Action
from specrun.run.job import Job
from specrun.store.journal import JOURNAL_NAME, read_journal
from specrun.store.manifest import is_whole, read_manifest
from specrun.store.paths import ProjectPaths
from specrun.store.state import State
from tests.support.jobs import apply, plan_job, python, step

DEADLINE_S = 60.0
SLOW_WRITE = (
    "import sys, time; n = sys.argv[1]; open(sys.argv[2] + '/made.txt', 'a').write(n + '\\n'); "
    "f = open('half', 'w'); f.write('h'); f.flush(); time.sleep(0.05); f.write('alf'); f.close()"
)


def chain(count: int) -> list:
    nodes = []
    for index in range(count):
        inputs = {"before": f"steps.n{index - 3}"} if index >= 3 else {}
        nodes.append(step(f"n{index}", [*python(SLOW_WRITE), str(index), "${project}"], inputs=inputs))
    return nodes


def start_supervisor(job: Job) -> subprocess.Popen[bytes]:
    folder = ProjectPaths(job.project_dir, job.output_root).run(job.run)
    job.save(folder)
    return subprocess.Popen(
        [sys.executable, "-m", "specrun.run.supervisor", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def events_of(job: Job, kind: type) -> list:
    journal = ProjectPaths(job.project_dir, job.output_root).run(job.run) / JOURNAL_NAME
    return [event for event in read_journal(journal) if isinstance(event, kind)] if journal.exists() else []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_again_and_again_still_gets_there_and_repeats_nothing_finished(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    nodes = chain(9)
    paths = ProjectPaths(tmp_path, tmp_path / "outputs")
    for _ in range(3):
        job = plan_job(tmp_path, nodes)
        if not job.plan.has_changes:
            break
        supervisor = start_supervisor(job)
        wanted = moments.randint(1, 4)
        until(
            lambda s=supervisor, j=job, w=wanted: len(events_of(j, NodeFinished)) >= w or s.poll() is not None,
            "progress",
        )
        time.sleep(moments.uniform(0, 0.05))
        supervisor.kill()
        supervisor.wait()
        for folder in (tmp_path / "outputs/steps").glob("*"):
            manifest = read_manifest(folder)
            assert manifest is not None
            assert is_whole(folder, manifest)
            assert (folder / "half").read_text() == "half"
    with State.open(paths.state_db) as state:
        finished = {record.address.name for record in state.records().values()}
    made = (tmp_path / "made.txt").read_text().split()
    ran = apply(tmp_path, nodes)
    assert ran.code == 0
    again = {event.address.removeprefix("steps.") for event in ran.of(NodeStarted)}
    assert not again & finished
    assert len(made) + len(again) == len((tmp_path / "made.txt").read_text().split())
    assert not plan_job(tmp_path, nodes).plan.has_changes


def test_workers_and_their_programs_die_with_the_supervisor(tmp_path: Path) -> None:
    code = "import os, sys, time; open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); time.sleep(600)"
    job = plan_job(tmp_path, [step("a", [*python(code), "${project}"])])
    supervisor = start_supervisor(job)
    place = tmp_path / "pid"
    until(lambda: place.exists() and place.read_text() != "", "the program's start")
    program = psutil.Process(int(place.read_text()))
    worker = events_of(job, NodeStarted)[0].pid
    supervisor.kill()
    supervisor.wait()
    until(lambda: not running(program.pid) and not running(worker), "the end of worker and program")


def test_a_killed_node_is_called_interrupted_and_goes_on(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; again = os.environ['SPECRUN_RESUME'] == '1'; "
        "open('seen', 'a').write('again' if again else 'first'); "
        "open(sys.argv[1] + '/began', 'w').close(); again or time.sleep(600)"
    )
    node = step("a", [*python(code), "${project}"], resume=True)
    supervisor = start_supervisor(plan_job(tmp_path, [node]))
    until((tmp_path / "began").exists, "the program's start")
    supervisor.kill()
    supervisor.wait()
    ran = apply(tmp_path, [node])
    assert ran.plan.nodes[0].action is Action.RESUME
    assert ran.of(NodeStarted)[0].resumed
    assert (tmp_path / "outputs/steps/a/seen").read_text() == "firstagain"


def test_one_sigint_stops_gracefully_and_the_exit_code_says_interrupted(tmp_path: Path) -> None:
    code = "import sys, time; open(sys.argv[1] + '/began', 'w').close(); time.sleep(600)"
    job = plan_job(
        tmp_path, [step("a", [*python(code), "${project}"]), step("b", python("pass"), inputs={"a": "steps.a"})]
    )
    supervisor = start_supervisor(job)
    until((tmp_path / "began").exists, "the program's start")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(DEADLINE_S) == 130
    assert plan_job(tmp_path, list(job.nodes)).plan.nodes[0].action is Action.RESUME


def test_a_second_sigint_ends_a_program_that_will_not_stop(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "open(sys.argv[1] + '/began', 'w').close(); time.sleep(600)"
    )
    supervisor = start_supervisor(plan_job(tmp_path, [step("a", [*python(code), "${project}"])]))
    until((tmp_path / "began").exists, "the program's start")
    supervisor.send_signal(signal.SIGINT)
    time.sleep(0.5)
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(10) == 130


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and os.getpgid(pid) > 0
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
