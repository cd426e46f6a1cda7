"""Webhooks: registered, pinged, and called when something happens, signed with their secret."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import urllib.error
import urllib.request
from typing import Any

from tests.doubles.cvat import listing, lookup
from tests.doubles.cvat import resources_projects as projects
from tests.doubles.cvat.render import Render
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import BackgroundRequest, Delivery, State, Webhook
from tests.doubles.cvat.wire import Answer, Call, Refused

Json = dict[str, Any]
_THINGS = ("project", "task", "job", "issue", "comment")
_PEOPLE = ("invitation", "membership")
_REQUESTS = (
    ("export:annotations", "Dataset export"),
    ("export:dataset", "Dataset export"),
    ("export:backup", "Backup export"),
    ("create:task", "Task data creation"),
    ("merge:task", "Consensus merge"),
    ("merge:job", "Consensus merge"),
    ("calculate:quality", "Quality report creation"),
)
# What a change tells only by its effects elsewhere.
_SILENT = ("url", "jobs", "issues", "labels", "tasks", "organization_id", "project_name", "task_name", "size", "data")


def event_groups() -> list[tuple[str, str]]:
    """(event, its group), in the server's order."""
    made = [(f"{verb}:{thing}", thing.title()) for thing in _THINGS for verb in ("create", "update", "delete")]
    made.append(("update:organization", "Organization"))
    made += [("create:invitation", "Invitation"), ("delete:invitation", "Invitation")]
    made += [(f"{verb}:membership", "Membership") for verb in ("create", "update", "delete")]
    return made + [(f"completed:request[{kind}]", group) for kind, group in _REQUESTS]


def events(server: Server, call: Call) -> Answer:
    told = [{"key": key, "group": {"display_name": group}} for key, group in event_groups()]
    return Answer(200, {"webhook_type": call.query.get("type", "all"), "events": told})


def _fields(state: State) -> listing.Fields[Webhook]:
    return listing.Fields(
        {
            "id": lambda webhook: webhook.id,
            "target_url": lambda webhook: webhook.target_url,
            "type": lambda webhook: webhook.type,
            "project_id": lambda webhook: webhook.project_id,
            "owner": lambda webhook: projects.username(state, webhook.owner_id),
            "description": lambda webhook: webhook.description,
            "updated_date": lambda webhook: webhook.updated_date,
        },
        simple=("owner", "project_id", "target_url", "type"),
        search=("description", "owner", "target_url"),
    )


def index(server: Server, call: Call) -> Answer:
    state = server.state
    render = Render(state, call.base_url, call.caller)
    if call.method == "POST":
        return _create(server, call, render)
    seen = [one for one in state.webhooks.values() if call.caller.superuser or one.owner_id == call.caller.id]
    return listing.page(call, seen, _fields(state), render.webhook)


def _create(server: Server, call: Call, render: Render) -> Answer:
    state, body = server.state, call.json()
    _check_events(body)
    if body.get("type") == "project":
        lookup.project(state, call, body["project_id"])
    when = state.now()
    webhook = Webhook(
        state.next_id("webhooks"),
        body["target_url"],
        body["type"],
        call.caller.id,
        list(body["events"]),
        created_date=when,
        updated_date=when,
        description=body.get("description", ""),
        secret=body.get("secret", ""),
        project_id=body.get("project_id"),
        organization_id=call.organization.id if call.organization else None,
        content_type=body.get("content_type", "application/json"),
        is_active=body.get("is_active", True),
        enable_ssl=body.get("enable_ssl", True),
    )
    state.webhooks[webhook.id] = webhook
    shown = render.webhook(webhook)
    return Answer(201, shown, headers={"Location": shown["url"]})


def _check_events(body: Json) -> None:
    known = {key for key, _ in event_groups()}
    for event in body.get("events", []):
        if event not in known:
            raise Refused(400, {"events": [f'"{event}" is not a valid choice.']})


def _find(server: Server, call: Call, number: str) -> Webhook:
    webhook = server.state.webhooks.get(int(number))
    if webhook is None or not (call.caller.superuser or webhook.owner_id == call.caller.id):
        raise Refused(404, {"detail": "No Webhook matches the given query."})
    return webhook


def one(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    webhook = _find(server, call, number)
    if call.method == "DELETE":
        del state.webhooks[webhook.id]
        return Answer(204)
    if call.method in ("PATCH", "PUT"):
        body = call.json()
        _check_events(body)
        for name in ("target_url", "description", "secret", "events", "is_active", "enable_ssl"):
            setattr(webhook, name, body.get(name, getattr(webhook, name)))
        webhook.updated_date = state.now()
    return Answer(200, Render(state, call.base_url, call.caller).webhook(webhook))


def ping(server: Server, call: Call, number: str) -> Answer:
    webhook = _find(server, call, number)
    render = Render(server.state, call.base_url, call.caller)
    told = {"event": "ping", "webhook": render.webhook(webhook), "sender": render.user_line(call.caller.id)}
    return Answer(200, render.delivery(_deliver(server, webhook, told, "")))


def deliveries(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    webhook = _find(server, call, number)
    own = [delivery for delivery in state.deliveries.values() if delivery.webhook_id == webhook.id]
    fields: listing.Fields[Delivery] = listing.Fields({"id": lambda delivery: delivery.id})
    return listing.page(call, own, fields, Render(state, call.base_url, call.caller).delivery)


def happened(
    server: Server, call: Call, event: str, name: str, shown: Json, *, project_id: int | None, **more: Any
) -> None:
    """Tell every webhook that listens to `event`: of the project, or of the organization that it is in."""
    state = server.state
    project = state.projects.get(project_id or 0)
    sender = Render(state, call.base_url, call.caller).user_line(call.caller.id)
    for webhook in list(state.webhooks.values()):
        of_project = webhook.project_id is not None and webhook.project_id == project_id
        of_organization = project is not None and webhook.organization_id == project.organization_id is not None
        if webhook.is_active and event in webhook.events and (of_project or of_organization):
            told = {"event": event, name: shown, "webhook_id": webhook.id, "sender": sender, **more}
            _call_later(server, webhook, told, ",".join(more.get("changes", {})))


def changed(server: Server, call: Call, name: str, before: Json, after: Json, *, project_id: int | None) -> None:
    """`update:<name>`, with what was and what is."""
    fields = [key for key in after if key not in _SILENT and before.get(key) != after[key]]
    fields.sort(key=lambda key: key != "updated_date")
    if fields:
        changes = {key: {"from": before.get(key), "to": after[key]} for key in fields}
        was = {key: before.get(key) for key in fields}
        happened(server, call, f"update:{name}", name, after, project_id=project_id, before_update=was, changes=changes)


def request_finished(server: Server, request: BackgroundRequest) -> None:
    """`completed:request[…]`."""
    event = f"completed:request[{request.type}]"
    for webhook in list(server.state.webhooks.values()):
        if webhook.is_active and event in webhook.events and webhook.project_id == request.project_id is not None:
            shown = {"id": request.id, "status": request.status, "operation": {"type": request.type}}
            _call_later(server, webhook, {"event": event, "request": shown, "webhook_id": webhook.id}, "")


def _call_later(server: Server, webhook: Webhook, told: Json, fields: str) -> None:
    """After the call that caused it: the receiver may ask this very server."""
    with server.state.lock:
        delivery = _record(server.state, webhook, told, fields)
    thread = threading.Thread(target=_send, args=(server, webhook, delivery), daemon=True)
    server.webhook_calls.append(thread)
    thread.start()


def _deliver(server: Server, webhook: Webhook, told: Json, fields: str) -> Delivery:
    delivery = _record(server.state, webhook, told, fields)
    _send(server, webhook, delivery)
    return delivery


def _record(state: State, webhook: Webhook, told: Json, fields: str) -> Delivery:
    when = state.now()
    number = state.next_id("deliveries")
    delivery = Delivery(number, webhook.id, told["event"], None, False, when, when, fields, told, "")
    state.deliveries[number] = delivery
    return delivery


def _send(server: Server, webhook: Webhook, delivery: Delivery) -> None:
    body = json.dumps(delivery.request).encode()
    headers = {"Content-Type": webhook.content_type, "User-Agent": f"CVAT/{server.version} python-requests/2.33.1"}
    if webhook.secret:
        signature = hmac.new(webhook.secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Signature-256"] = f"sha256={signature}"
    request = urllib.request.Request(webhook.target_url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            status, text = response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode(errors="replace")
    except OSError as error:
        status, text = 502, str(error)
    with server.state.lock:
        delivery.status_code, delivery.response = status, text
        delivery.updated_date = server.state.now()
