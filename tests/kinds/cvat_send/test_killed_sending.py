"""However a run ends, the next ones make what is missing and nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import urllib3

from specrun.errors import NodeError
from specrun.kinds.cvat_send import shapes
from tests.doubles.cvat.faults import Fault
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_sending import Round, polygons, spec_of, square

ROOT = Path(__file__).parents[3]


class Killed(BaseException):
    """No code catches it, as it could not a SIGKILL."""


class KillAt:
    """Ends the process' work at its n-th request, before it is sent or once it was carried out."""

    def __init__(self, monkeypatch, n, moment):
        self.seen, self.n, self.moment = 0, n, moment
        self._send = urllib3.connectionpool.HTTPConnectionPool.urlopen
        monkeypatch.setattr(urllib3.connectionpool.HTTPConnectionPool, "urlopen", lambda *a, **k: self.send(*a, **k))

    def send(self, *arguments, **named):
        self.seen += 1
        if self.seen == self.n and self.moment == "before":
            raise Killed
        answer = self._send(*arguments, **named)
        if self.seen == self.n:
            raise Killed
        return answer


def filled(folder, server):
    work = Round(folder, server)
    for number, name in enumerate(("a.png", "b.png", "sub/b.png")):
        work.add_image(name, square(10, 10, score=0.9), square(40, 20 + number, score=0.8))
    work.add_image("empty.png")
    return work


def spec():
    return spec_of(prelabels=polygons(), tasks={"from": "sources.photos", "size": 3, "segment_size": 2})


def what_is_there(work):
    state = work.server.state
    return {
        "projects": [project.name for project in state.projects.values()],
        "labels": sorted(label.name for label in state.labels.values()),
        "tasks": sorted((task.name, task.bug_tracker, tuple(work.frames(task))) for task in work.tasks),
        "shapes": work.shapes(),
    }


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """What a run that nothing disturbs makes, and how many requests it takes."""
    monkeypatch.setattr(shapes, "MOST_NUMBERS", 1)
    with CvatDouble(anonymous_per_minute=None) as server, monkeypatch.context() as patched:
        work = filled(tmp_path / "whole", server)
        counted = KillAt(patched, 0, "before")
        work.run(spec())
        found = what_is_there(work)
        found["tasks"] = [(name, mark, frames) for name, mark, frames in found["tasks"]]
        return found, counted.seen


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_request_costs_nothing_and_doubles_nothing(tmp_path, monkeypatch, whole, moment):
    expected, requests = whole
    assert requests > 20
    for n in range(1, requests + 1):
        with CvatDouble(anonymous_per_minute=None) as server:
            work = filled(tmp_path / str(n) / "work", server)
            with monkeypatch.context() as patched:
                KillAt(patched, n, moment)
                with pytest.raises(Killed):
                    work.run(spec())
            work.run(spec())
            assert what_is_there(work) == expected, f"killed {moment} request {n}"


@pytest.mark.parametrize("fault", [{"status": 502, "after": True}, {"drop": True, "after": True}, {"status": 503}])
def test_an_answer_that_is_lost_at_any_request_doubles_nothing(tmp_path, monkeypatch, whole, fault):
    monkeypatch.setattr("specrun.kinds.cvat_send.once.LOOKS_S", (0.0,))
    expected, requests = whole
    for n in range(2, requests + 1):
        with CvatDouble(anonymous_per_minute=None) as server:
            work = filled(tmp_path / str(n) / "work", server)
            seen = []

            def take(method, path, seen=seen, n=n):
                seen.append(path)
                return Fault("*", None, 1, **fault) if len(seen) == n else None

            server.faults.take = take
            for _ in range(3):
                try:
                    work.run(spec())
                    break
                except NodeError:
                    continue
            work.run(spec())
            assert what_is_there(work) == expected, f"{fault} at request {n}: {seen[n - 1]}"


def test_a_state_that_was_lost_is_rebuilt_from_the_marks_on_the_tasks(tmp_path):
    with CvatDouble(anonymous_per_minute=None) as server:
        work = filled(tmp_path / "work", server)
        work.run(spec())
        before = what_is_there(work)
        work.memory.values.clear()
        work.predicted = {key: (square(1, 1),) for key in work.predicted}
        outputs = work.run(spec())
        assert what_is_there(work) == before
        assert outputs.facts["skipped"] == 4
        assert len([note for note in outputs.notes if "found by its mark" in note]) == 2
        work.add_image("new.png", square(5, 5))
        work.run(spec())
        assert [task.name for task in work.tasks] == ["train_01", "train_02", "train_03"]


def test_an_empty_task_that_people_deleted_is_made_again_and_one_with_images_is_not(tmp_path):
    with CvatDouble(anonymous_per_minute=None) as server:
        work = Round(tmp_path, server)
        work.add_image("a.png", square(10, 10))
        for path in (r"/api/tasks/1/data", r"/api/jobs/\d+/annotations"):
            server.faults.add("*", path, times=50, status=503)
            with pytest.raises(NodeError):
                work.run(spec())
            server.faults.clear()
            server.person.delete_task(max(server.state.tasks))
        outputs = work.run(spec())
        assert server.state.tasks == {}
        assert any("task 2 (train_01) is gone from CVAT" in note for note in outputs.notes)


def test_images_that_went_before_their_task_was_made_are_let_go(tmp_path):
    with CvatDouble(anonymous_per_minute=None) as server:
        work = Round(tmp_path, server)
        work.add_image("a.png")
        server.faults.add("POST", r"/api/tasks$", times=50, status=403)
        with pytest.raises(NodeError):
            work.run(spec())
        server.faults.clear()
        work.samples.clear()
        work.add_image("b.png", square(10, 10), size_wh=(100, 80))
        work.run(spec())
        assert [work.frames(task) for task in work.tasks] == [["b.png"]]


SCRIPT = """
import json, sys
from pathlib import Path
from tests.support.cvat_sending import Round, polygons, spec_of, square
from specrun.kinds.cvat_send import shapes

class FileMemory:
    def __init__(self, path): self.path = path
    def _all(self): return json.loads(self.path.read_text()) if self.path.exists() else {}
    def remember(self, address, key, value):
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({**self._all(), key: value}))
        part.replace(self.path)
    def recall(self, address, key): return self._all().get(key)

class Server:
    url, user, password = sys.argv[2], "admin", "cvat-double"

folder = Path(sys.argv[1])
shapes.MOST_NUMBERS = 1
work = Round(folder, Server())
work.memory = FileMemory(folder / "memory.json")
for number in range(12):
    work.add_image(f"{number:02d}.png", square(10, 10 + number))
print("ready", flush=True)
work.run(spec_of(prelabels=polygons(), tasks={"from": "sources.photos", "size": 6}))
print("done", flush=True)
"""


def start(folder, url):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), url], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_a_process_that_is_killed_in_the_middle_of_the_labels_is_followed_by_one_that_ends_them(tmp_path):
    with CvatDouble(anonymous_per_minute=None) as server:
        first = start(tmp_path / "work", server.url)
        deadline = time.monotonic() + 60
        while sum(m == "PATCH" and "annotations" in p for m, p, _ in list(server.requests_seen)) < 3:
            assert time.monotonic() < deadline
            assert first.poll() is None
            time.sleep(0.002)
        os.kill(first.pid, signal.SIGKILL)
        assert first.wait(60) == -signal.SIGKILL
        assert "done" not in first.stdout.read()
        (tmp_path / "work/photos").rename(tmp_path / "photos")
        second = start(tmp_path / "work", server.url)
        output, _ = second.communicate(timeout=120)
        assert "done" in output
        tasks = server.state.tasks.values()
        assert sorted(task.name for task in tasks) == ["train_01", "train_02"]
        counts = [[shape["frame"] for shape in server.person.shapes(task.id)] for task in tasks]
        assert [sorted(frames) for frames in counts] == [list(range(6)), list(range(6))]
        assert json.loads((tmp_path / "work/memory.json").read_text())
