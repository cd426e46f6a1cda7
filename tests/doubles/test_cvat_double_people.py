"""Several people, tokens, limits, webhooks and faults: what only a double can be made to do on demand."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import urllib3

pytest.importorskip("cvat_sdk")

from cvat_sdk import make_client
from cvat_sdk.api_client.exceptions import UnauthorizedException
from cvat_sdk.core.client import AccessTokenCredentials

from tests.doubles.cvat.server import CvatDouble
from tests.doubles.cvat.state import Frame, Media, Task
from tests.support.cvat_replay import Clock

POOL = urllib3.PoolManager(retries=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[CvatDouble]:
    with CvatDouble(clock=clock) as made:
        yield made
        assert not made.errors, "\n".join(made.errors)


def ask(
    server: CvatDouble, method: str, path: str, body: Any = None, *, user: str = "admin", **headers: str
) -> urllib3.BaseHTTPResponse:
    """As that user, unless the headers say who."""
    password = next(one.password for one in server.state.users.values() if one.username == user)
    sent = {"X-Organization" if key == "organization" else key: value for key, value in headers.items()}
    if "Authorization" not in sent:
        sent |= urllib3.make_headers(basic_auth=f"{user}:{password}")
    return POOL.request(method, f"{server.url}/api/{path}", headers=sent, json=body)


def created(server: CvatDouble, path: str, body: Any, **how: str) -> int:
    answer = ask(server, "POST", path, body, **how)
    assert answer.status == 201, answer.data
    return int(answer.json()["id"])


def a_task(server: CvatDouble, *, frames: int = 2, segment_size: int = 0) -> Task:
    """With frames, without the upload."""
    project = created(server, "projects", {"name": "p", "labels": [{"name": "a"}]})
    number = created(server, "tasks", {"name": "t", "project_id": project, "segment_size": segment_size})
    task = server.state.tasks[number]
    with server.state.lock:
        pictures = [Frame(f"{n}.jpg", 64, 48, b"original", b"compressed") for n in range(frames)]
        task.media = Media(server.state.next_id("data"), pictures, stop_frame=frames - 1)
        server.state.make_jobs(task)
    return task


def test_members_of_an_organization_see_what_their_role_lets_them(server: CvatDouble) -> None:
    server.add_user("ann", "ann-password")
    server.add_user("bob", "bob-password")
    server.add_user("eve", "eve-password")
    server.add_organization("lab", server.admin, ann="maintainer", bob="worker")
    project = created(server, "projects", {"name": "p", "labels": []}, organization="lab")
    assert ask(server, "GET", f"projects/{project}", user="ann").status == 200
    assert ask(server, "GET", f"projects/{project}", user="bob").status == 403
    assert ask(server, "GET", "projects", user="bob", organization="lab").json()["count"] == 0
    assert ask(server, "GET", "projects", user="eve", organization="lab").status == 403
    assert ask(server, "GET", "projects", organization="").json()["count"] == 0
    assert ask(server, "GET", "projects").json()["count"] == 1


def test_who_has_a_job_may_finish_it_and_draw_and_nothing_else(server: CvatDouble) -> None:
    bob = server.add_user("bob", "bob-password")
    task = a_task(server)
    (job,) = server.state.jobs_of(task.id)
    assert ask(server, "GET", f"jobs/{job.id}", user="bob").status == 403
    assert ask(server, "PATCH", f"jobs/{job.id}", {"assignee": bob.id}).status == 200
    seen = ask(server, "GET", "jobs", user="bob").json()["results"]
    assert [(one["id"], one["task_name"]) for one in seen] == [(job.id, None)]
    shape = {"type": "rectangle", "label_id": 1, "frame": 0, "points": [1, 2, 3, 4]}
    drawn = ask(server, "PATCH", f"jobs/{job.id}/annotations/?action=create", {"shapes": [shape]}, user="bob")
    assert len(drawn.json()["shapes"]) == 1
    assert ask(server, "PATCH", f"jobs/{job.id}", {"state": "completed"}, user="bob").status == 200
    assert ask(server, "PATCH", f"jobs/{job.id}", {"stage": "acceptance"}, user="bob").status == 403


def test_two_people_drawing_in_between_lose_nothing_of_each_other(server: CvatDouble) -> None:
    server.add_user("ann", "ann-password", superuser=True)
    task = a_task(server, frames=4, segment_size=2)
    first = server.person.draw(task.id, 0, {"label": "a", "points": [1, 2, 3, 4]})
    server.person_called("ann").draw(task.id, 3, {"label": "a", "points": [5, 6, 7, 8]})
    server.person.edit_shape(first["id"], points=[2.0, 2.0, 3.0, 4.0])
    assert [(one["frame"], one["points"][0]) for one in server.person.shapes(task.id)] == [(0, 2.0), (3, 5.0)]


def test_a_token_that_expires_between_two_calls_is_refused_at_the_second(server: CvatDouble, clock: Clock) -> None:
    token = server.add_token(server.admin, expiry_date=clock() + timedelta(minutes=5))
    bearer = {"Authorization": f"Bearer {token.value}"}
    assert ask(server, "GET", "projects", **bearer).status == 200
    clock.forward(minutes=6)
    refused = ask(server, "GET", "projects", **bearer)
    assert (refused.status, refused.json()) == (401, {"detail": "Invalid token."})


def test_the_sdk_stops_at_an_expired_token(server: CvatDouble, clock: Clock) -> None:
    token = server.add_token(server.admin, expiry_date=clock() + timedelta(minutes=5))
    with make_client(server.url, credentials=AccessTokenCredentials(token.value)) as client:
        project = client.projects.create({"name": "p"})
        clock.forward(minutes=6)
        with pytest.raises(UnauthorizedException):
            project.fetch()


def test_two_sdk_clients_work_in_one_organization(server: CvatDouble) -> None:
    ann = server.add_user("ann", "ann-password")
    server.add_organization("lab", server.admin, ann="maintainer")
    with (
        make_client(server.url, credentials=(server.user, server.password)) as admin,
        make_client(server.url, credentials=("ann", ann.password)) as other,
    ):
        admin.organization_slug = other.organization_slug = "lab"
        project = admin.projects.create({"name": "shared", "labels": [{"name": "a"}]})
        assert [one.name for one in other.projects.list()] == ["shared"]
        task = other.tasks.create({"name": "by ann", "project_id": project.id})
        assert admin.tasks.retrieve(task.id).owner.username == "ann"
        other.organization_slug = ""
        assert other.projects.list() == []


def test_the_sdk_comes_back_after_as_long_as_it_is_told(server: CvatDouble) -> None:
    with make_client(server.url, credentials=(server.user, server.password)) as client:
        server.faults.add("GET", "/api/projects", times=2, status=429, headers={"Retry-After": "0"})
        assert client.projects.list() == []
    assert [path for _, path, _ in server.requests_seen].count("/api/projects") == 3


def test_a_read_only_token_reads_and_exports_and_creates_nothing(server: CvatDouble) -> None:
    task = a_task(server)
    bearer = {"Authorization": f"Bearer {server.add_token(server.admin, read_only=True).value}"}
    assert ask(server, "GET", f"tasks/{task.id}", **bearer).status == 200
    assert ask(server, "POST", "projects", {"name": "x"}, **bearer).status == 403
    form = "CVAT%20for%20images%201.1"
    assert ask(server, "POST", f"tasks/{task.id}/dataset/export?format={form}", **bearer).status == 202


def test_the_hundred_and_first_anonymous_call_of_a_minute_is_told_when_to_come_back(
    server: CvatDouble, clock: Clock
) -> None:
    about = f"{server.url}/api/server/about"
    assert {POOL.request("GET", about).status for _ in range(100)} == {200}
    refused = POOL.request("GET", about)
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert ask(server, "GET", "projects").status == 200
    clock.forward(seconds=int(refused.headers["Retry-After"]))
    assert POOL.request("GET", about).status == 200


def test_a_fault_hits_as_many_calls_as_it_is_for(server: CvatDouble) -> None:
    server.faults.add("GET", "/api/projects", times=2, status=503, headers={"Retry-After": "1"})
    assert [ask(server, "GET", "projects").status for _ in range(3)] == [503, 503, 200]
    assert [path for _, path, _ in server.requests_seen] == ["/api/projects"] * 3


def test_a_lost_answer_has_its_effect_all_the_same(server: CvatDouble) -> None:
    server.faults.add("POST", "/api/projects", drop=True, after=True)
    with pytest.raises(urllib3.exceptions.HTTPError):
        ask(server, "POST", "projects", {"name": "made"})
    assert [one["name"] for one in ask(server, "GET", "projects").json()["results"]] == ["made"]


def test_a_dropped_call_has_no_effect(server: CvatDouble) -> None:
    server.faults.add("POST", "/api/projects", drop=True)
    with pytest.raises(urllib3.exceptions.HTTPError):
        ask(server, "POST", "projects", {"name": "lost"})
    assert ask(server, "GET", "projects").json()["count"] == 0


def test_a_cut_answer_is_shorter_than_it_says(server: CvatDouble) -> None:
    server.faults.add("GET", "/api/projects", keep_bytes=10)
    with pytest.raises(urllib3.exceptions.HTTPError):
        ask(server, "GET", "projects")
    assert ask(server, "GET", "projects").status == 200


def test_a_body_above_the_limit_is_refused(clock: Clock) -> None:
    with CvatDouble(clock=clock, body_limit=100) as server:
        assert ask(server, "POST", "projects", {"name": "x" * 200}).status == 413


def test_a_request_takes_as_many_polls_as_it_is_told_to(server: CvatDouble) -> None:
    task = a_task(server)
    server.worker.polls_needed = 2
    path = f"tasks/{task.id}/dataset/export?format=CVAT%20for%20images%201.1"
    number = ask(server, "POST", path).json()["rq_id"]
    assert ask(server, "POST", path).status == 409
    polled = f"requests/{number.replace('&', '%26').replace('=', '%3D')}"
    seen = [ask(server, "GET", polled).json()["status"] for _ in range(3)]
    assert seen == ["started", "started", "finished"]
    address = ask(server, "GET", polled).json()["result_url"]
    assert ask(server, "GET", address.removeprefix(f"{server.url}/api/")).data[:2] == b"PK"


def test_a_held_request_hangs_until_it_is_released(server: CvatDouble) -> None:
    task = a_task(server)
    server.worker.hold("action=export")
    ask(server, "POST", f"tasks/{task.id}/dataset/export?format=CVAT%20for%20images%201.1")
    (request,) = server.state.requests.values()
    polled = f"requests/{request.id.replace('&', '%26').replace('=', '%3D')}"
    assert {ask(server, "GET", polled).json()["status"] for _ in range(5)} == {"queued"}
    server.worker.release()
    assert ask(server, "GET", polled).json()["status"] == "finished"


def test_a_download_is_resumed_only_where_the_server_knows_ranges(clock: Clock) -> None:
    for ranges, status in ((True, 206), (False, 200)):
        with CvatDouble(clock=clock, ranges=ranges) as server:
            task = a_task(server)
            ask(server, "POST", f"tasks/{task.id}/dataset/export?format=CVAT%20for%20images%201.1")
            (request,) = server.state.requests.values()
            number = request.id.replace("&", "%26").replace("=", "%3D")
            part = ask(server, "GET", f"tasks/{task.id}/dataset/download?rq_id={number}", Range="bytes=10-")
            assert part.status == status
            assert request.result is not None
            assert part.data == request.result[10 if ranges else 0 :]


def test_a_webhook_tells_signed_what_a_person_changed(server: CvatDouble) -> None:
    task = a_task(server)
    with received_calls() as (address, calls):
        hook = {
            "target_url": address,
            "type": "project",
            "project_id": task.project_id,
            "events": ["update:job", "update:task"],
            "secret": "s3",
        }
        created(server, "webhooks", hook)
        server.person.finish_task(task.id)
        for call in server.webhook_calls:
            call.join(timeout=60)
    assert {json.loads(body)["event"] for _, body in calls} == {"update:task", "update:job"}
    for signature, body in calls:
        assert signature == "sha256=" + hmac.new(b"s3", body, hashlib.sha256).hexdigest()
    job = next(json.loads(body) for _, body in calls if b"update:job" in body)
    assert job["changes"]["state"] == {"from": "new", "to": "completed"}


@contextmanager
def received_calls() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An address of its own, and (X-Signature-256, body) of every POST to it."""
    calls: list[tuple[str, bytes]] = []

    class Receive(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls.append((self.headers["X-Signature-256"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receive)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", calls
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_task_that_a_person_deleted_is_gone_with_its_jobs(server: CvatDouble) -> None:
    task = a_task(server)
    (job,) = server.state.jobs_of(task.id)
    server.person.delete_task(task.id)
    assert ask(server, "GET", f"tasks/{task.id}").status == 404
    assert ask(server, "GET", f"jobs/{job.id}").status == 404
    assert ask(server, "GET", f"tasks?project_id={task.project_id}").json()["count"] == 0


def test_a_filter_by_a_field_that_the_server_does_not_know_is_refused(server: CvatDouble) -> None:
    answer = ask(server, "GET", 'tasks?filter={"==":[{"var":"bug_tracker"},"x"]}')
    assert (answer.status, answer.json()) == (400, ["filter: term 'bug_tracker' is not supported"])


def test_pages_hold_ten_and_at_most_five_hundred(server: CvatDouble) -> None:
    for number in range(12):
        created(server, "projects", {"name": str(number)})
    assert len(ask(server, "GET", "projects").json()["results"]) == 10
    assert len(ask(server, "GET", "projects?page_size=1000").json()["results"]) == 12
    second = ask(server, "GET", "projects?page=2").json()
    assert (len(second["results"]), second["next"]) == (2, None)
    assert ask(server, "GET", "projects?page=3").status == 404


def test_the_server_is_gone_after_its_block() -> None:
    with CvatDouble() as server:
        port = int(server.url.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=60)
