"""`specrun watch` on a CVAT double: rounds that go on by themselves, by looking and by webhooks."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import random
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_server import make_images
from tests.support.cvat_tasks import add_project, add_task
from tests.support.watched import DEADLINE_S, Watched, watching

SPEC = """\
specrun: 1
project: {{name: demo}}
connections:
  lab: {{kind: cvat, url: "{url}", username: admin, password: {{env: CVAT_PASSWORD}}}}
  other: {{kind: cvat, url: "{other}", username: admin, password: {{env: CVAT_PASSWORD}}}}
sources:
  photos: {{kind: images, path: photos}}
  round1: {{kind: cvat, from: cvat_projects.round1, require: all, select: {{subsets: {{"": train}}}}}}
  round2: {{kind: cvat, from: cvat_projects.round2, require: all}}
  elsewhere: {{kind: cvat, connection: other, project: reef}}
cvat_projects:
  round1:
    connection: lab
    project: demo
    labels: [{{name: coral}}]
    tasks: {{from: sources.photos, name: first, size: 10}}
{webhook}  round2:
    connection: lab
    project: demo
    labels: [{{name: coral}}]
    tasks: {{from: sources.round1, name: second, size: 10}}
"""
HOOK = """\
    webhook: {{listen: "127.0.0.1:{port}", url: "http://127.0.0.1:{port}/hook", secret: {{env: HOOK_SECRET}}}}
"""
SECRET = "from the vault"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[CvatDouble, CvatDouble]]:
    monkeypatch.setenv("CVAT_PASSWORD", CvatDouble.password)
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    with CvatDouble(anonymous_per_minute=None) as lab, CvatDouble(anonymous_per_minute=None) as other:
        task = add_task(other, add_project(other), "done")
        other.person.finish_task(task)
        yield lab, other
        assert not lab.errors + other.errors, "\n".join(lab.errors + other.errors)


def write(folder: Path, servers: tuple[CvatDouble, CvatDouble], webhook: str = "") -> None:
    make_images(folder / "photos", 3)
    urls = {"url": servers[0].url, "other": servers[1].url}
    (folder / "project.yaml").write_text(SPEC.format(**urls, webhook=webhook))


def free_port() -> int:
    """Below those that the system gives to connections, of which there are many before it is listened at."""
    while True:
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", random.SystemRandom().randint(10_000, 30_000)))
            return int(found.getsockname()[1])


def made(watched: Watched, address: str) -> bool:
    return any(line["address"] == address for line in watched.of("NodeFinished"))


def _look_called_for(watched: Watched, lab: CvatDouble, other: CvatDouble, state: str) -> int:
    """How many requests the server got meanwhile that did not call for it."""
    before, asked = len(lab.requests_seen), len(other.requests_seen)
    lab.person.change_job(1, state=state)
    watched.until(lambda: len(lab.requests_seen) > before, "a look that was called for")
    return len(other.requests_seen) - asked


def draw_and_finish(lab: CvatDouble, task: int) -> None:
    lab.person.draw(task, 1, {"label": "coral", "type": "rectangle", "points": [1.0, 2.0, 20.0, 12.5]})
    lab.person.finish_task(task)


@pytest.mark.slow
def test_rounds_go_on_by_themselves_as_people_finish(tmp_path: Path, servers: tuple[CvatDouble, CvatDouble]) -> None:
    lab, _ = servers
    write(tmp_path, servers)
    with watching(tmp_path, "--yes", "--poll", "1s") as watched:
        watched.until_idle(after=1)
        assert sorted(lab.state.tasks) == [1]
        idle = len(lab.requests_seen)
        watched.until(lambda: len(lab.requests_seen) >= idle + 12, "three regular looks")
        # One listing each of tasks, jobs and labels a look and node, and the project, by its name where a node has sent
        # nothing yet; nothing for a task by itself.
        paths = {path for _, path, _ in lab.requests_seen[idle:]}
        assert paths <= {"/api/projects", "/api/projects/1", "/api/tasks", "/api/jobs", "/api/labels"}, paths
        draw_and_finish(lab, 1)
        watched.until(lambda: made(watched, "cvat_projects.round2"), "the second round")
        draw_and_finish(lab, 2)
        watched.until(lambda: made(watched, "sources.round2"), "the end")
        watched.until_idle(after=2)
        assert watched.interrupt() == 130
    assert sorted(lab.state.tasks) == [1, 2]
    assert '"type":"box"' in (tmp_path / "outputs/sources/round2/samples.jsonl").read_text()


def test_a_webhook_starts_the_pull_and_asks_only_its_own_server(
    tmp_path: Path, servers: tuple[CvatDouble, CvatDouble]
) -> None:
    lab, other = servers
    port = free_port()
    write(tmp_path, servers, HOOK.format(port=port))
    with watching(tmp_path, "--yes") as watched:  # the regular look is an hour away
        watched.until_idle(after=1)
        assert any(f"127.0.0.1:{port}" in line["text"] for line in watched.of("Watching"))
        runs = len(watched.of("RunStarted"))
        # Somebody draws, and nothing is finished: looked at, and nothing done.
        (hook,) = lab.state.webhooks.values()
        looks = (_look_called_for(watched, lab, other, state) for state in ("in progress", "new") * 5)
        # The first may be the look at everything that follows a run.
        assert any(asked == 0 for asked in looks)
        assert len(watched.of("RunStarted")) == runs
        draw_and_finish(lab, 1)
        watched.until(lambda: made(watched, "cvat_projects.round2"), "the second round")
        watched.until_idle(after=2)
        told = lab.state.deliveries.values()
        assert {one.status_code for one in told if one.webhook_id == hook.id} <= {204, None}
        assert watched.interrupt() == 130


def test_what_is_not_signed_wakes_nobody(tmp_path: Path, servers: tuple[CvatDouble, CvatDouble]) -> None:
    lab, _ = servers
    port = free_port()
    write(tmp_path, servers, HOOK.format(port=port))
    with watching(tmp_path, "--yes", "--target", "cvat_projects.round1") as watched:
        watched.until_idle(after=1)
        before = len(lab.requests_seen)
        forged = "sha256=" + hmac.new(b"guessed", b"{}", hashlib.sha256).hexdigest()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", b"{}", {"X-Signature-256": forged})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request, timeout=DEADLINE_S)
        genuine = "sha256=" + hmac.new(SECRET.encode(), b"{}", hashlib.sha256).hexdigest()
        # The same message many times: a look, and nothing to do.
        for _ in range(20):
            replay = urllib.request.Request(f"http://127.0.0.1:{port}/", b"{}", {"X-Signature-256": genuine})
            assert urllib.request.urlopen(replay, timeout=DEADLINE_S).status == 204
        watched.until(lambda: any("not signed" in line["text"] for line in watched.of("Watching")), "the warning")
        watched.until(lambda: len(lab.requests_seen) > before, "the look")
        assert len(watched.of("RunStarted")) == 1
        assert len(lab.requests_seen) - before <= 3 * 20
        assert watched.interrupt() == 130


def test_an_address_that_is_taken_is_told_and_the_looks_go_on(
    tmp_path: Path, servers: tuple[CvatDouble, CvatDouble]
) -> None:
    lab, _ = servers
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        write(tmp_path, servers, HOOK.format(port=taken.getsockname()[1]))
        with watching(tmp_path, "--yes", "--poll", "1s") as watched:
            watched.until_idle(after=1)
            said = [line["text"] for line in watched.of("Watching") if "no webhooks are heard there" in line["text"]]
            assert len(said) == 1
            draw_and_finish(lab, 1)
            watched.until(lambda: made(watched, "sources.round1"), "the pull")
            assert watched.interrupt() == 130
