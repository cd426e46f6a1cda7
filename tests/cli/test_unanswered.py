"""A CVAT server that does not answer: what is asked is said, and Ctrl-C works."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from specrun.run import patience as patience_module
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_tasks import add_project, add_task
from tests.support.deaf_server import SPEC, deaf_server
from tests.support.watched import watching

SHORTER_THAN_A_LOOK_S = 15


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVAT_TOKEN", "t")


def test_plan_says_whom_it_asks_and_leaves_at_once(tmp_path: Path) -> None:
    with deaf_server() as url:
        (tmp_path / "project.yaml").write_text(SPEC.format(url=url))
        planning = subprocess.Popen(
            [sys.executable, "-m", "specrun.cli.main", "plan"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        assert planning.stderr is not None
        assert planning.stderr.readline() == f"asking {url} for sources.done …\n"
        planning.send_signal(signal.SIGINT)
        assert planning.wait(SHORTER_THAN_A_LOOK_S) == 130
        planning.stderr.close()


def test_watch_says_whom_it_asks_and_leaves_at_once(tmp_path: Path) -> None:
    with deaf_server() as url:
        (tmp_path / "project.yaml").write_text(SPEC.format(url=url))
        with watching(tmp_path) as watched:
            watched.until(lambda: watched.of("Watching"), "a word of whom it asks")
            assert watched.of("Watching")[0]["text"] == f"asking {url} for sources.done …"
            watched.process.send_signal(signal.SIGINT)
            assert watched.process.wait(SHORTER_THAN_A_LOOK_S) == 130


def test_a_look_that_ends_soon_says_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    patience_module.Patience(say=said.append).wait_for(lambda: None)
    assert said == []


def test_what_the_look_raises_is_raised_where_it_is_waited_for() -> None:
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        patience_module.Patience().wait_for(fails)


@pytest.mark.slow
def test_watch_says_once_that_a_server_is_away_and_once_that_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVAT_PASSWORD", CvatDouble.password)
    with CvatDouble(anonymous_per_minute=None) as lab:
        lab.person.finish_task(add_task(lab, add_project(lab), "done"))
        access = "username: admin, password: {env: CVAT_PASSWORD}"
        spec = SPEC.format(url=lab.url).replace("access_token: {env: CVAT_TOKEN}", access)
        (tmp_path / "project.yaml").write_text(spec)
        with watching(tmp_path, "--poll", "1s") as watched:
            watched.until_idle(after=1)
            lab.faults.add("GET", times=4, drop=True)
            texts = lambda: [line["text"] for line in watched.of("Watching")]  # noqa: E731
            watched.until(lambda: f"{lab.url} answers again" in texts(), "the server's return")
            assert sum(text.startswith(f"{lab.url} does not answer since ") for text in texts()) == 1
