"""How ranks are started, what they write and how their end is told."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from specrun.errors import NodeError, OutOfMemory, StopRequested
from specrun.training.ranks import (
    Follower,
    RankReport,
    failure,
    last_lines,
    output_path,
    prepare,
    rank_environment,
    read_json,
    run_ranks,
    write_json,
)


class _Seen:
    """A Context for what is followed. stop_after: looks, then the run is asked to stop."""

    def __init__(self, stop_after: float = float("inf")) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.left = stop_after

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None:
        self.calls.append(("progress", done, total, unit, phase))

    def metric(self, name: str, step: float, value: float) -> None:
        self.calls.append(("metric", name, step, value))

    def log(self, text: str) -> None:
        self.calls.append(("log", text))

    def stop_requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_what_rank_0_reports_is_handed_on_once_and_whole(tmp_path: Path) -> None:
    seen = _Seen()
    follower = Follower(tmp_path / "reports.jsonl", seen)
    follower.forward()
    report = RankReport(tmp_path)
    report.progress(1.5, 3, "epochs", "epoch 2/3")
    report.metric("größe", 2, 0.25)
    with open(tmp_path / "reports.jsonl", "a") as file:
        file.write('["log", "ha')
    follower.forward()
    follower.forward()
    assert seen.calls == [("progress", 1.5, 3, "epochs", "epoch 2/3"), ("metric", "größe", 2, 0.25)]
    with open(tmp_path / "reports.jsonl", "a") as file:
        file.write('lf"]\n')
    follower.forward()
    assert seen.calls[2:] == [("log", "half")]


def test_only_rank_0_tells(tmp_path: Path) -> None:
    RankReport(tmp_path, leads=False).log("twice")
    assert not (tmp_path / "reports.jsonl").exists()


def _tell(folder: Path, rank: int, error: str, message: str, *, expected: bool = False) -> None:
    told = {"rank": rank, "error": error, "message": message, "hint": None, "expected": expected}
    write_json(folder / f"failed-{rank}.json", told)
    os.utime(folder / f"failed-{rank}.json", ns=(time.time_ns(), time.time_ns()))


def test_a_lack_of_memory_in_one_rank_is_the_cause_whoever_failed_first(tmp_path: Path) -> None:
    _tell(tmp_path, 0, "RuntimeError", "peer gone")
    _tell(tmp_path, 1, "OutOfMemory", "full", expected=True)
    found = failure(tmp_path, {0: 1, 1: 1})
    assert isinstance(found, OutOfMemory)
    assert str(found) == "full"


def test_the_rank_that_failed_first_is_the_cause(tmp_path: Path) -> None:
    _tell(tmp_path, 1, "ValueError", "no such thing")
    _tell(tmp_path, 0, "RuntimeError", "peer gone")
    assert failure(tmp_path, {0: 1, 1: 1}).message == "rank 1: no such thing"


def test_a_rank_that_was_killed_is_the_cause_with_its_last_lines(tmp_path: Path) -> None:
    _tell(tmp_path, 0, "RuntimeError", "peer gone")
    output_path(tmp_path, 1).write_bytes(b"one\n 1%\r 2%\r\ntwo\n")
    found = failure(tmp_path, {0: 1, 1: -9})
    assert type(found) is NodeError
    assert found.message.splitlines() == [
        "rank 1 was ended by SIGKILL without saying why. Its last lines:",
        "  one",
        "   2%",
        "  two",
    ]
    assert "main memory" in str(found.hint)


def test_ranks_that_all_stopped_are_stopped(tmp_path: Path) -> None:
    for rank in (0, 1):
        _tell(tmp_path, rank, "StopRequested", "stopped", expected=True)
    assert isinstance(failure(tmp_path, {0: 1, 1: 1}), StopRequested)


def test_the_ranks_meet_on_this_machine_without_a_name() -> None:
    environ = rank_environment(1, 2, 4000)
    assert (environ["MASTER_ADDR"], environ["RANK"], environ["LOCAL_RANK"]) == ("127.0.0.1", "1", "1")
    assert environ["WORLD_SIZE"] == "2"
    assert environ["GLOO_SOCKET_IFNAME"].startswith("lo")


_PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path
from specrun.errors import StopRequested
from specrun.training.ranks import carry_out

def work(job, report):
    rank = int(os.environ["RANK"])
    print("rank", rank, "sees GPUs", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    if job["does"] == "die" and rank == 1:
        print("about to die", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    while job["does"] in ("die", "wait"):
        time.sleep(0.05)
        report.check_stop()
    return {"threads": os.environ["OMP_NUM_THREADS"]}

sys.exit(carry_out(Path(sys.argv[1]), work))
"""


def _run(folder: Path, does: str, ctx: _Seen, **more: Any) -> None:
    (folder / "program.py").write_text(_PROGRAM)
    prepare(folder / "ranks", {"does": does})
    run_ranks(folder / "ranks", 2, ctx, (str(folder / "program.py"),), threads=3, **more)


def _left(folder: Path) -> list[int]:
    import psutil

    return [one.pid for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or ())]


def test_ranks_run_with_the_leased_gpus_and_their_share_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    _run(tmp_path, "end", _Seen())
    assert read_json(tmp_path / "ranks" / "result.json") == {"threads": "3"}
    assert {f"rank {rank} sees GPUs 3,5" for rank in (0, 1)} <= set(capfd.readouterr().out.splitlines())


def test_a_rank_that_dies_ends_the_others_and_is_told_with_what_it_said(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(NodeError, match=r"rank 1 was ended by SIGKILL .*\n(.*\n)*  about to die"):
        _run(tmp_path, "die", _Seen())
    assert time.monotonic() - began < 30
    assert _left(tmp_path) == []


@pytest.mark.parametrize("itself", [True, False])
def test_a_stop_ends_every_rank(tmp_path: Path, itself: bool) -> None:
    with pytest.raises(StopRequested):
        _run(tmp_path, "wait", _Seen(stop_after=3), stops_itself=itself)
    assert len(list((tmp_path / "ranks").glob("failed-*.json"))) == (2 if itself else 0)
    assert _left(tmp_path) == []


def test_the_last_state_of_a_bar_is_its_line(tmp_path: Path) -> None:
    (tmp_path / "o").write_bytes(b"a\n10%\r50%\r100%\nb\n\n")
    assert last_lines(tmp_path / "o", 2) == ["100%", "b"]
