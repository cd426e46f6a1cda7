"""Background requests: waited for with growing intervals, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specrun.clients.cvat import background, transfer
from specrun.errors import NodeError
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_server import api_of, make_images, make_project, make_task


class FakeHttp:
    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


class FakeApi:
    """states: what the server tells, one after the other; the last for ever."""

    class connection:
        host = "cvat.test"
        requests_deadline_s = 1800.0

    def __init__(self, *states: dict[str, Any]) -> None:
        self.http = FakeHttp()
        self._states: Iterator[dict[str, Any]] = iter(states)
        self._last: dict[str, Any] = {}
        self.asked: list[str] = []

    def get(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        self._last = next(self._states, self._last)
        return self._last


RQ = "action=export&target=task&target_id=3&format=COCO_1~0"
OPERATION = {"type": "export:dataset", "target": "task", "project_id": 1, "task_id": 3, "job_id": None}


def state(status: str, **more: Any) -> dict[str, Any]:
    return {"id": RQ, "status": status, "message": "", "operation": OPERATION, **more}


def finish(api: FakeApi, **what: Any) -> dict[str, Any]:
    return background.finish(api, RQ, clock=lambda: api.http.now, **what)  # type: ignore[arg-type]


def test_it_is_asked_soon_and_then_ever_more_rarely() -> None:
    api = FakeApi(*[state("started")] * 30, state("finished", result_url="x"))
    assert finish(api)["result_url"] == "x"
    assert api.http.waits[0] == 0.1
    assert api.http.waits == sorted(api.http.waits)
    assert api.http.waits[-1] == 5.0


def test_its_id_is_escaped_in_the_address() -> None:
    api = FakeApi(state("finished"))
    finish(api)
    assert api.asked == ["/api/requests/action%3Dexport%26target%3Dtask%26target_id%3D3%26format%3DCOCO_1~0"]


def test_progress_is_a_share_with_the_servers_words() -> None:
    told: list[tuple[float, str]] = []
    api = FakeApi(state("queued"), state("started", progress=0.5, message="Media files\n"), state("finished"))
    finish(api, progress=lambda share, words: told.append((share, words)))
    assert told == [(0.0, "queued"), (0.5, "Media files")]


def test_the_deadline_names_the_request_and_what_to_do() -> None:
    api = FakeApi(state("queued"))
    with pytest.raises(NodeError, match="export:dataset task 3 is not finished after 60 s: no worker") as raised:
        finish(api, deadline_s=60)
    assert RQ in raised.value.message
    assert "requests_deadline" in (raised.value.hint or "")
    assert api.http.now == pytest.approx(60)


def test_a_failure_carries_the_servers_message_in_one_line() -> None:
    api = FakeApi(state("failed", message="PIL.UnidentifiedImageError: cannot\n identify \x1b[31m'a.jpg'\n"))
    with pytest.raises(NodeError, match=r"export:dataset task 3 failed: PIL\.UnidentifiedImageError: cannot identify"):
        finish(api)


def test_a_result_lies_at_the_address_that_the_server_is_reached_at() -> None:
    told = state("finished", result_url="http://internal:8080/api/tasks/3/dataset/download?rq_id=a%3Db")
    assert background.result_path(told) == "/api/tasks/3/dataset/download?rq_id=a%3Db"


def test_portions_keep_the_order_and_lose_nothing() -> None:
    shapes = [{"points": [0.0] * 40, "frame": number} for number in range(10)]
    tracks = [{"shapes": [{"points": [0.0] * 40}] * 3, "frame": 99}]
    split = list(transfer.portions({"shapes": shapes, "tracks": tracks, "tags": [{"frame": 1}]}, most=120))
    assert len(split) > 3
    assert [s for portion in split for s in portion["shapes"]] == shapes
    assert [t for portion in split for t in portion["tracks"]] == tracks
    assert [t for portion in split for t in portion["tags"]] == [{"frame": 1}]


def test_no_annotations_are_no_request() -> None:
    assert list(transfer.portions({"shapes": [], "tags": [], "tracks": []})) == []


def test_a_running_export_is_followed_and_then_made_anew(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        task = make_task(api, make_project(api), make_images(tmp_path / "images", 1), tmp_path / "links")
        rq_id = background.begin(api, f"/api/tasks/{task}/dataset/export", format="COCO 1.0", save_images=False)
        body = f'{{"rq_id": "{rq_id}"}}'.encode()
        json_type = {"Content-Type": "application/vnd.cvat+json"}
        server.faults.add("POST", f"/api/tasks/{task}/dataset/export", status=409, body=body, headers=json_type)
        target = tmp_path / "out" / "coco.zip"
        transfer.export_dataset(api, "tasks", task, format="COCO 1.0", save_images=False, target=target)
        assert target.read_bytes()[:2] == b"PK"


def test_a_backup_lies_whole_under_its_name(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        task = make_task(api, make_project(api), make_images(tmp_path / "images", 1), tmp_path / "links")
        transfer.backup(api, "tasks", task, target=tmp_path / "backup.zip")
        assert (tmp_path / "backup.zip").read_bytes()[:2] == b"PK"
        assert not list(tmp_path.glob("*.part"))


def test_annotations_of_a_task_without_images_are_none() -> None:
    with CvatDouble() as server, api_of(server) as api:
        task = api.post("/api/tasks", {"name": "empty", "project_id": make_project(api)})["id"]
        assert transfer.annotations(api, task)["shapes"] == []
