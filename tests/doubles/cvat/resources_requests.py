"""`/api/requests`: what runs in the background, and how it ended."""

from __future__ import annotations

from tests.doubles.cvat import access, listing
from tests.doubles.cvat.render import Render, expiry
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import BackgroundRequest, State
from tests.doubles.cvat.wire import Answer, Call, Refused

_UNKNOWN = b"There is no request with specified id"
_TARGETS = ("project", "task", "job")
_FIELDS: listing.Fields[BackgroundRequest] = listing.Fields(
    {
        "status": lambda request: request.status,
        "project_id": lambda request: request.project_id,
        "task_id": lambda request: request.task_id,
        "job_id": lambda request: request.job_id,
        "org_id": lambda request: request.org_id,
        "action": lambda request: request.type.partition(":")[0],
        "subresource": lambda request: request.type.partition(":")[2],
        "target": lambda request: request.target,
        "format": lambda request: request.format,
        "created_date": lambda request: request.created_date,
    },
    simple=("action", "format", "job_id", "project_id", "status", "subresource", "target", "task_id"),
    choices={"status": ("queued", "started", "failed", "finished")},
    order="-created_date",
)


def index(server: Server, call: Call) -> Answer:
    own = [request for request in _alive(server.state) if request.owner_id == call.caller.id]
    return listing.page(call, own, _FIELDS, Render(server.state, call.base_url, call.caller).request)


def _alive(state: State) -> list[BackgroundRequest]:
    now = state.now()
    return [one for one in state.requests.values() if (ends := expiry(one)) is None or ends > now]


def find(state: State, call: Call, number: str) -> BackgroundRequest:
    request = next((one for one in _alive(state) if one.id == number), None)
    if request is None:
        raise Refused(404, _UNKNOWN, "text/html; charset=utf-8")
    if not (call.caller.superuser or request.owner_id == call.caller.id):
        raise Refused(403, access.FORBIDDEN)
    return request


def one(server: Server, call: Call, number: str) -> Answer:
    request = find(server.state, call, number)
    server.worker.polled(request)
    return Answer(200, Render(server.state, call.base_url, call.caller).request(request))


def cancel(server: Server, call: Call, number: str) -> Answer:
    request = find(server.state, call, number)
    if server.worker.running(request.id) is None:
        raise Refused(400, ["Only requests that have not been started yet can be cancelled"])
    del server.state.requests[request.id]
    return Answer(200)
