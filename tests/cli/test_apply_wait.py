"""`apply --wait`: a run that goes on by itself when people have finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PEOPLE = Path(__file__).parents[1] / "support/people"
DEADLINE_S = 60.0
SPEC = """\
specrun: 1
project: {name: demo}
reviews:
  first: {owed: first.txt}
  second: {owed: second.txt, looks: false}
steps:
  below: {argv: [python, -c, "print(1)"], after: [reviews.first]}
  other: {argv: [python, -c, "print(2)"]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project.yaml").write_text(SPEC)
    (tmp_path / "first.txt").write_text("ann: task 7\nbob: task 8\n")
    (tmp_path / "second.txt").write_text("ann: all of it\n")
    return tmp_path


class Applied:
    def __init__(self, folder: Path, *words: str) -> None:
        self.out = folder / "out.jsonl"
        with open(self.out, "w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "specrun.cli.main", "apply", *words],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(PEOPLE)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text().splitlines(True) if line.endswith("}\n")]

    def of(self, kind: str, address: str | None = None) -> list[dict[str, Any]]:
        return [x for x in self.lines() if x["type"] == kind and address in (None, x.get("address"))]

    def until(self, kind: str, address: str | None = None, *, times: int = 1, text: str = "") -> None:
        deadline = time.monotonic() + DEADLINE_S
        while sum(text in json.dumps(line) for line in self.of(kind, address)) < times:
            assert self.process.poll() is None, self.out.read_text()[-2000:]
            assert time.monotonic() < deadline, self.out.read_text()[-2000:]
            time.sleep(0.02)


@contextmanager
def applied(folder: Path, *words: str) -> Iterator[Applied]:
    running = Applied(folder, *words)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def test_without_wait_the_run_ends_and_says_who_is_waited_for(project: Path) -> None:
    with applied(project, "--ui", "json") as run:
        assert run.process.wait(DEADLINE_S) == 6
    assert run.of("RunFinished")[0]["waiting"] == 3


def test_what_people_finish_is_run_in_the_same_run_until_nothing_waits(project: Path) -> None:
    with applied(project, "--ui", "json", "--wait", "--poll", "1s") as run:
        run.until("NodeFinished", "steps.other")
        run.until("Notice", text="waits for people")
        (project / "first.txt").write_text("bob: task 8\n")
        run.until("NodeWaiting", "reviews.first", times=2)
        assert run.of("NodeWaiting", "reviews.first")[-1]["missing"] == ["bob: task 8"]
        (project / "first.txt").write_text("")
        run.until("NodeFinished", "steps.below")
        assert run.process.poll() is None
        (project / "second.txt").write_text("")
        assert run.process.wait(DEADLINE_S) == 0
    assert len(run.of("RunStarted")) == len(run.of("RunFinished")) == 1
    assert len(run.of("NodeStarted", "steps.other")) == 1
    end = run.of("RunFinished")[0]
    assert (end["status"], end["finished"], end["waiting"]) == ("done", 4, 0)


def test_a_server_that_does_not_answer_for_a_while_is_waited_for_too(project: Path) -> None:
    (project / "second.txt").write_text("")
    with applied(project, "--ui", "json", "--wait", "--poll", "1s") as run:
        run.until("Notice", text="waits for people")
        (project / "first.txt").rename(project / "away.txt")
        time.sleep(2.5)
        (project / "away.txt").write_text("")
        (project / "away.txt").rename(project / "first.txt")
        assert run.process.wait(DEADLINE_S) == 0
    assert not run.of("NodeFailed")


def test_a_plan_in_which_everything_waits_is_waited_for_and_ctrl_c_ends_it(project: Path) -> None:
    (project / "project.yaml").write_text(SPEC.partition("  second")[0])
    with applied(project, "--ui", "json", "--wait", "--poll", "1s") as run:
        run.until("Notice", text="waits for people")
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(DEADLINE_S) == 130
    assert run.of("RunFinished")[0]["status"] == "interrupted"


def test_a_poll_that_is_no_duration_is_refused(project: Path) -> None:
    with applied(project, "--wait", "--poll", "often") as run:
        assert run.process.wait(DEADLINE_S) == 2
    assert "--poll" in run.out.read_text()
