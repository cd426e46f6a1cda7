"""kill -9 on the supervisor at odd moments: what is finished stays, nothing half-written is published, and no
worker is left behind."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from specrun.kinds.steps.program import STOP_GRACE_S
from specrun.model.event import NodeFinished, NodeStarted, RunStopping
from specrun.model.plan import Action
from specrun.store.manifest import is_whole, read_manifest
from specrun.store.paths import ProjectPaths
from specrun.store.state import State
from tests.support.jobs import apply, plan_job, python, step
from tests.support.processes import DEADLINE_S, events_of, running, start_supervisor, until

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
    until(lambda: not _workers_and_programs(tmp_path), "the end of what the killed runs had begun")
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
    until(lambda: bool(events_of(job, NodeStarted)), "word of it")
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
    job = plan_job(tmp_path, [step("a", [*python(code), "${project}"])])
    supervisor = start_supervisor(job)
    until((tmp_path / "began").exists, "the program's start")
    supervisor.send_signal(signal.SIGINT)
    until(lambda: bool(events_of(job, RunStopping)), "the answer to the first")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(0.8 * STOP_GRACE_S) == 130


SAVES_ON_SIGTERM = """
import os, signal, sys, time
place = sys.argv[1]
def save(*_):
    with open(place + '/signals', 'a') as file:
        file.write('x')
    open('begun-to-save', 'w').close()
signal.signal(signal.SIGTERM, save)
if 'closed' in sys.argv:
    os.close(1); os.close(2)
open(place + '/began', 'w').write(str(os.getpid()))
while not os.path.exists('begun-to-save'):
    time.sleep(0.01)
time.sleep(1)
open(place + '/saved', 'w').close()
"""


@pytest.mark.parametrize(
    "argv",
    [
        [*python(SAVES_ON_SIGTERM), "${project}"],
        [*python(SAVES_ON_SIGTERM), "${project}", "closed"],
        ["sh", "-c", '"$0" "$@"; true', *python(SAVES_ON_SIGTERM), "${project}"],
        ["sh", "-c", '"$0" "$@" >log.txt 2>&1; true', *python(SAVES_ON_SIGTERM), "${project}"],
    ],
    ids=["a program", "without output", "below a shell", "below a shell, into a file"],
)
def test_a_program_is_asked_once_and_may_save_its_work(tmp_path: Path, argv: list[str]) -> None:
    supervisor = start_supervisor(plan_job(tmp_path, [step("a", argv, resume=True)]))
    until((tmp_path / "began").exists, "the program's start")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(DEADLINE_S) == 130
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "signals").read_text() == "x"


@pytest.mark.slow
def test_a_program_that_will_not_stop_is_ended_after_the_grace(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    supervisor = start_supervisor(plan_job(tmp_path, [step("a", [*python(code), "${project}"])]))
    until(lambda: _number(tmp_path / "pid") > 0, "the program's start")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(DEADLINE_S) == 130
    assert not running(_number(tmp_path / "pid"))


def test_what_a_finished_step_left_running_dies_with_the_supervisor(tmp_path: Path) -> None:
    leaves = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '600'], stdout=-3, stderr=-3); "
        "open(sys.argv[1] + '/pid', 'w').write(str(p.pid))"
    )
    first = step("a", [*python(leaves), "${project}"])
    # Runs in a worker of its own, so that the one of the first is idle.
    second = step("b", python("import time; time.sleep(600)"))
    job = plan_job(tmp_path, [first, second])
    supervisor = start_supervisor(job)
    until(lambda: bool(events_of(job, NodeFinished)) and len(events_of(job, NodeStarted)) == 2, "the first's end")
    assert running(_number(tmp_path / "pid"))
    supervisor.kill()
    supervisor.wait()
    until(lambda: not running(_number(tmp_path / "pid")), "the end of what was left running")


@pytest.mark.parametrize("with_supervisor", [True, False], ids=["with the supervisor", "alone"])
def test_a_program_and_its_children_die_with_a_killed_worker(tmp_path: Path, with_supervisor: bool) -> None:
    code = (
        "import os, subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); "
        "open(sys.argv[1] + '/child', 'w').write(str(p.pid)); "
        "open(sys.argv[1] + '/pid', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    job = plan_job(tmp_path, [step("a", [*python(code), "${project}"])])
    supervisor = start_supervisor(job)
    until(lambda: _number(tmp_path / "pid") > 0 and bool(events_of(job, NodeStarted)), "the program's start")
    # Stopped, the supervisor cannot end the worker's group itself, and the worker cannot see that it is gone.
    supervisor.send_signal(signal.SIGSTOP)
    os.kill(events_of(job, NodeStarted)[0].pid, signal.SIGKILL)
    if with_supervisor:
        supervisor.kill()
    until(lambda: not any(running(_number(tmp_path / name)) for name in ("pid", "child")), "the end of the program")
    supervisor.kill()
    supervisor.wait()


@pytest.mark.parametrize("how", ["the run is stopped", "the supervisor is killed"])
def test_a_program_that_left_the_group_of_its_worker_dies_with_it(tmp_path: Path, how: str) -> None:
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600'], start_new_session=True); "
        "open(sys.argv[1] + '/pid', 'w').write(str(p.pid)); time.sleep(600)"
    )
    supervisor = start_supervisor(plan_job(tmp_path, [step("a", [*python(code), "${project}"])]))
    until(lambda: _number(tmp_path / "pid") > 0, "the program's start")
    if how == "the run is stopped":
        supervisor.send_signal(signal.SIGINT)
    else:
        supervisor.kill()
    supervisor.wait(DEADLINE_S)
    until(lambda: not running(_number(tmp_path / "pid")), "the end of the program in another session")


def _workers_and_programs(project: Path) -> list[psutil.Process]:
    """Programs inherit what their worker was told."""
    state_dir = str(ProjectPaths(project, project / "outputs").state_dir)
    return [
        p for p in psutil.process_iter(["environ"]) if (p.info["environ"] or {}).get("SPECRUN_STATE_DIR") == state_dir
    ]


def _number(path: Path) -> int:
    """A process id that another process writes; 0: not yet."""
    text = path.read_text() if path.exists() else ""
    return int(text or "0")


def test_a_killed_run_is_called_interrupted_by_the_next_one(tmp_path: Path) -> None:
    code = "import os, sys, time; open(sys.argv[1] + '/began', 'w').close(); os.path.exists('x') or time.sleep(600)"
    job = plan_job(tmp_path, [step("a", [*python(code), "${project}"])])
    supervisor = start_supervisor(job)
    until((tmp_path / "began").exists, "the program's start")
    supervisor.kill()
    supervisor.wait()
    apply(tmp_path, [step("b", python("pass"))])
    with State.open(ProjectPaths(tmp_path, tmp_path / "outputs").state_db) as state:
        assert {run.id: run.status for run in state.runs()}[job.run] == "interrupted"
