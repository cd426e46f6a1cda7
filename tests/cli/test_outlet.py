"""Pipes that nobody reads, and readers that go away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from specrun.cli.outlet import Outlet
from tests.support.processes import DEADLINE_S, until

SPEC = """\
specrun: 1
project: {name: demo}
steps:
  noisy: {argv: [python, noisy.py]}
"""
NOISY = "import time\nwhile True:\n    print('x' * 1000, flush=True)\n    time.sleep(0.0005)\n"


def test_all_that_is_written_arrives_in_order() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    for number in range(1000):
        outlet.write(f"{number}\n")
    outlet.close()
    os.close(writing)
    with open(reading) as file:
        assert file.read() == "".join(f"{number}\n" for number in range(1000))


def test_a_pipe_that_nobody_reads_keeps_nobody_waiting() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    while not outlet.full:
        outlet.write("x" * 1000)
    outlet.close(0.01)
    assert len(os.read(reading, 1 << 20)) < 1 << 20
    os.close(reading)


def test_a_reader_that_went_away_is_told_of() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(writing)
    outlet.write("x")
    with pytest.raises(BrokenPipeError):
        outlet.close()
    with pytest.raises(BrokenPipeError):
        outlet.write("x")


@pytest.mark.parametrize("command", ["apply", "watch"])
def test_sigterm_is_heard_while_nobody_reads(tmp_path: Path, command: str) -> None:
    (tmp_path / "project.yaml").write_text(SPEC)
    (tmp_path / "noisy.py").write_text(NOISY)
    with _specrun(tmp_path, command, "-v", *(["--ui", "plain"] if command == "apply" else [])) as process:
        until(lambda: _size(tmp_path) > 1 << 20, "more than a pipe holds")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 143


def test_a_watch_whose_reader_went_away_says_that_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(SPEC)
    (tmp_path / "noisy.py").write_text(NOISY)
    with _specrun(tmp_path, "watch", "-v") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        until(lambda: _size(tmp_path) > 0, "the node's output")
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0
        assert "the run that is going on finishes by itself" in process.stderr.read().decode()
    stop = "from specrun.run.control import *; send(next(Path('.specrun/runs').resolve().iterdir()), Wanted(Ask.KILL))"
    subprocess.run([sys.executable, "-c", stop], cwd=tmp_path, check=True)
    lock = tmp_path / ".specrun/lock"
    until(lambda: lock.read_bytes() == b"", "the end of the run")


def _specrun(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "specrun.cli.main", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _size(folder: Path) -> int:
    return sum(log.stat().st_size for log in folder.glob(".specrun/runs/*/steps/noisy/log.txt"))
