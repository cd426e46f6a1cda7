"""`status`, `runs` and `logs` on a little project of steps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from specrun.cli.logs import LogOutput
from specrun.cli.main import main

SPEC = """\
specrun: 1
project: {name: demo}
steps:
  first: {argv: [python, first.py], outputs: {text: text.txt}}
  second: {argv: [python, -c, "print('copied')"], inputs: {text: steps.first}}
"""
FIRST = "print('one'); print('two'); print('three'); open('text.txt', 'w').write('hello')"
DEADLINE_S = 60.0

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "project.yaml").write_text(SPEC)
    (tmp_path / "first.py").write_text(FIRST)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        captured = capfd.readouterr()
        return int(code), captured.out, captured.err

    return call


def test_status_before_the_first_run(run: Run) -> None:
    code, out, _ = run("status")
    assert code == 0
    assert "never applied" in out
    assert "not made" in out


def test_status_shows_what_is_where_and_what_became_stale(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    _, out, _ = run("status")
    assert "outputs/steps/first" in out
    assert out.count("up to date") == 2
    assert "done" in out
    (tmp_path / "first.py").write_text(FIRST + "  # edited")
    _, out, _ = run("status")
    assert "stale" in out
    assert "first.py changed" in out


def test_status_json_has_sizes_runs_and_disk(run: Run) -> None:
    run("apply", "--ui", "quiet")
    status = json.loads(run("status", "--json")[1])
    first = status["nodes"][0]
    assert (first["state"], first["size_bytes"], first["run"]) == ("up to date", 5, status["last_run"]["id"])
    assert status["last_run"]["counts"] == {"done": 2}
    assert status["running"] is None
    assert status["disk"]["outputs"] == 5
    assert status["disk"]["free"] > 0


def test_runs_are_listed_newest_first_with_counts(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (tmp_path / "first.py").write_text("raise SystemExit('no more paper')")
    run("apply", "--ui", "quiet")
    _, out, _ = run("runs")
    newest, oldest = out.splitlines()
    assert "failed" in newest
    assert "1 failed, 1 skipped" in newest
    assert "2 made" in oldest
    assert [found["status"] for found in json.loads(run("runs", "--json")[1])] == ["failed", "done"]


def test_a_run_is_shown_from_its_journal_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("raise SystemExit('no more paper')")
    run("apply", "--ui", "quiet")
    (tmp_path / "project.yaml").write_text("broken: [")
    code, out, _ = run("runs", "show")
    assert code == 0
    assert "no more paper" in out
    assert "needs steps.first, which failed" in out
    shown = json.loads(run("runs", "show", "--json")[1])
    states = {node["address"]: node["state"] for node in shown["nodes"]}
    assert states == {"steps.first": "failed", "steps.second": "skipped"}
    assert shown["nodes"][0]["last_lines"] == ["no more paper"]


def test_a_run_that_nobody_finished_is_called_crashed(run: Run, tmp_path: Path) -> None:
    from specrun.model.state import RunRecord
    from specrun.store.state import State

    run("apply", "--ui", "quiet")
    with State.open(tmp_path / ".specrun/state.db") as state:
        state.put_run(
            RunRecord("20990101-000000-dead", "2099-01-01T00:00:00+00:00", None, "running", None, os.getpid())
        )
    assert "crashed" in run("runs")[1].splitlines()[0]


def killed_run(folder: Path) -> None:
    """A run that is killed while its first node runs."""
    waits = "while not __import__('os').path.exists('{}'): pass\nopen('text.txt', 'w')"
    (folder / "first.py").write_text(waits.format(folder / "go"))
    applying = specrun(folder, "apply", "--ui", "quiet")
    until(lambda: list(folder.glob(".specrun/runs/*/steps/first/log.txt")), "the node's start")
    applying.kill()
    applying.communicate()


def test_nothing_runs_in_a_run_that_was_killed(run: Run, tmp_path: Path) -> None:
    killed_run(tmp_path)
    code, out, _ = run("attach")
    assert code == 3
    assert "demo · crashed after" in out
    assert "steps.first stopped" in out
    assert "running" not in out
    shown = json.loads(run("runs", "show", "--json")[1])
    assert shown["status"] == "crashed"
    assert [node["state"] for node in shown["nodes"]] == ["stopped", "skipped"]


def test_of_a_journal_that_was_cut_the_state_knows_the_end(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (journal,) = tmp_path.glob(".specrun/runs/*/events.jsonl")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    code, out, _ = run("attach")
    assert code == 0
    assert "demo · done after" in out
    assert "the end of this run's journal is missing" in out
    assert json.loads(run("runs", "show", "--json")[1])["status"] == "done"


def test_a_run_without_a_journal_cannot_be_attached_to(run: Run, tmp_path: Path) -> None:
    run("apply", "--ui", "quiet")
    (journal,) = tmp_path.glob(".specrun/runs/*/events.jsonl")
    journal.unlink()
    code, _, err = run("attach")
    assert code == 2
    assert "was removed" in err
    assert run("runs")[0] == 0


def test_attaching_to_a_run_that_is_over_exits_as_the_run_did(run: Run, tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text("raise SystemExit('no more paper')")
    assert run("apply", "--ui", "quiet")[0] == 1
    code, out, _ = run("attach")
    assert code == 1
    assert "no more paper" in out


def test_the_log_of_a_node_or_its_last_lines(run: Run) -> None:
    run("apply", "--ui", "quiet")
    assert run("logs", "steps.first")[1] == "one\ntwo\nthree\n"
    assert run("logs", "steps.first", "-n", "2")[1] == "two\nthree\n"
    assert run("logs", "steps.first", "--follow")[1] == "one\ntwo\nthree\n"


def test_on_a_terminal_a_bar_is_drawn_over_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output = LogOutput()
    for chunk in (b"begin\nEpoch 1%\rEpo", b"ch 2%", b"\rEpoch 3%\nend\n"):
        output.write(chunk)
    output.close()
    over = "\r\x1b[K"
    assert capsys.readouterr().out == f"begin\nEpo{over}Epoch 2%{over}Epoch 3%\nend\n"


def test_into_a_pipe_go_no_colours_and_the_paths_of_what_was_made(run: Run, tmp_path: Path) -> None:
    code = "import os; print('\\x1b[31mred\\x1b[0m', os.getcwd() + '/text.txt'); open('text.txt', 'w')"
    (tmp_path / "first.py").write_text(code)
    run("apply", "--ui", "quiet")
    assert run("logs", "steps.first")[1] == f"red {tmp_path}/outputs/steps/first/text.txt\n"


def test_a_colour_that_comes_in_pieces_is_left_out_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    output = LogOutput()
    for chunk in (b"a\x1b", b"[3", b"1mb\xc3", b"\xa4\x1b[0m"):
        output.write(chunk)
    output.close()
    assert capfd.readouterr().out == "abä"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_like_one_that_leads_nowhere(run: Run, tmp_path: Path, closed: str) -> None:
    command = f'"{sys.executable}" -m specrun.cli.main apply --ui plain {closed}'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, timeout=DEADLINE_S, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert run("logs", "steps.first")[1] == "one\ntwo\nthree\n"


@pytest.mark.parametrize("command", [("apply", "--ui", "plain"), ("logs",)])
def test_the_path_of_a_log_can_be_opened(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "first.py").write_text("raise SystemExit('no more paper')")
    if command == ("logs",):
        run("apply", "--ui", "quiet")
    _, out, _ = run(*command)
    paths = re.findall(r"log:? (\S+log\.txt)", out)
    assert paths
    assert [Path(path).read_text() for path in paths] == ["no more paper\n"] * len(paths)


def test_without_an_address_the_whole_run_is_told(run: Run) -> None:
    run("apply", "--ui", "quiet")
    out = run("logs")[1]
    assert "steps.first   started" in out
    assert "│ two" in out
    assert out.splitlines()[-1].endswith("2 made")
    assert run("logs", "-n", "1")[1].splitlines() == out.splitlines()[-1:]


def test_a_misspelt_address_gets_a_suggestion(run: Run) -> None:
    run("apply", "--ui", "quiet")
    code, _, err = run("logs", "steps.frist")
    assert code == 2
    assert "Did you mean steps.first?" in err


def specrun(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "specrun.cli.main", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_log_is_followed_until_the_node_is_done(run: Run, tmp_path: Path) -> None:
    waits = "print('before', flush=True)\nwhile not __import__('os').path.exists('{}'): pass\nprint('after')"
    (tmp_path / "first.py").write_text(waits.format(tmp_path / "go") + "\nopen('text.txt', 'w')")
    assert run("apply", "--detach")[0] == 0
    until(lambda: list(tmp_path.glob(".specrun/runs/*/steps/first/log.txt")), "the node's start")
    follower = specrun(tmp_path, "logs", "steps.first", "--follow")
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"before\n"
    status = json.loads(run("status", "--json")[1])
    assert status["running"]["total"] == 2
    assert status["running"]["nodes"][0].startswith("steps.first")
    assert [node["state"] for node in status["nodes"]] == ["running", "not made"]
    assert status["nodes"][0]["reasons"][0].startswith("runs now, since ")
    text = run("plan")[1]
    assert re.search(r"steps\.first +runs now, since \d\d:\d\d, in run \S+\n", text)
    assert "interrupted" not in text
    assert f"run {status['running']['run']} goes on: apply by " in text
    (tmp_path / "go").touch()
    assert follower.communicate(timeout=DEADLINE_S) == (b"after\n", b"")
    assert follower.returncode == 0
    until(lambda: json.loads(run("runs", "--json")[1])[0]["status"] == "done", "the end of the run")


def test_following_ends_quietly_when_nobody_reads_any_more(run: Run, tmp_path: Path) -> None:
    noisy = "while not __import__('os').path.exists('{}'): print('x' * 1000)\nopen('text.txt', 'w')"
    (tmp_path / "first.py").write_text(noisy.format(tmp_path / "go"))
    run("apply", "--detach")
    until(lambda: list(tmp_path.glob(".specrun/runs/*/steps/first/log.txt")), "the node's start")
    follower = specrun(tmp_path, "logs", "steps.first", "--follow")
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.stdout.close()
    assert follower.wait(DEADLINE_S) == 0
    assert follower.stderr is not None
    assert follower.stderr.read() == b""
    (tmp_path / "go").touch()
    until(lambda: json.loads(run("runs", "--json")[1])[0]["status"] == "done", "the end of the run")


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        threading.Event().wait(0.05)
