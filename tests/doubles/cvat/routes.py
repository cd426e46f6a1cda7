"""Which address is answered by what."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.doubles.cvat import labels, lookup, media, webhooks
from tests.doubles.cvat import resources_issues as issues
from tests.doubles.cvat import resources_jobs as jobs
from tests.doubles.cvat import resources_people as people
from tests.doubles.cvat import resources_projects as projects
from tests.doubles.cvat import resources_requests as requests
from tests.doubles.cvat import resources_server as info
from tests.doubles.cvat import resources_tasks as tasks
from tests.doubles.cvat import resources_transfers as transfers
from tests.doubles.cvat.wire import Answer, Call, Refused

if TYPE_CHECKING:
    from tests.doubles.cvat.server import CvatDouble

Resource = Callable[..., Answer]
_NOT_FOUND = b"""
<!doctype html>
<html lang="en">
<head>
  <title>Not Found</title>
</head>
<body>
  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>
</body>
</html>
"""


@dataclass(frozen=True)
class Route:
    methods: tuple[str, ...]
    path: re.Pattern[str]
    resource: Resource
    open_to_all: bool = False
    template: str = ""


def _route(methods: str, path: str, resource: Resource, *, open_to_all: bool = False) -> Route:
    """`{id}` stands for a number, `{name}` for one part of the path, `{rest}` for all that follows."""
    pattern = path.replace("{id}", r"(\d+)").replace("{name}", r"([^/]+)").replace("{rest}", "(.+?)")
    return Route(tuple(methods.split()), re.compile(f"/api/{pattern}/?$"), resource, open_to_all, f"/api/{path}")


def _task_media(resource: Resource, *, of_job: bool = False) -> Resource:
    """media.py speaks of the task, and of the job when the address is a job's."""

    def answer(server: CvatDouble, call: Call, number: str, *more: str) -> Answer:
        state = server.state
        if of_job:
            job = lookup.job(state, call, number)
            return resource(server, call, state.tasks[job.task_id], job, *more)
        task = lookup.task(state, call, number, for_assignee=call.method in ("GET", "HEAD"))
        return resource(server, call, task, None, *more)

    return answer


def _task_upload(resource: Resource) -> Resource:
    def answer(server: CvatDouble, call: Call, number: str, *more: str) -> Answer:
        task = lookup.task(server.state, call, number)
        if task.data_id is None:
            task.data_id = server.state.next_id("data")
        return resource(server, call, task, *more)

    return answer


def _either(posted: Resource, read: Resource) -> Resource:
    def answer(server: CvatDouble, call: Call, *arguments: str) -> Answer:
        return (posted if call.method == "POST" else read)(server, call, *arguments)

    return answer


def _meta(server: CvatDouble, call: Call, *arguments: Any) -> Answer:
    return (media.patch_meta if call.method == "PATCH" else media.get_meta)(server, call, *arguments)


def _of(kind: str, resource: Resource) -> Resource:
    def answer(server: CvatDouble, call: Call, *arguments: str) -> Answer:
        return resource(server, call, kind, *arguments)

    return answer


def _annotations(kind: str, resource: Resource) -> Resource:
    return _either(_of(kind, transfers.import_annotations), resource)


def _transfer_routes(kind: str) -> list[Route]:
    made = [
        _route("POST", f"{kind}s/{{id}}/dataset/export", _of(kind, transfers.export_dataset)),
        _route("GET HEAD", f"{kind}s/{{id}}/dataset/download", _of(kind, transfers.download)),
    ]
    if kind == "job":
        return made
    return [
        *made,
        _route("POST", f"{kind}s/{{id}}/backup/export", _of(kind, transfers.export_backup)),
        _route("GET HEAD", f"{kind}s/{{id}}/backup/download", _of(kind, transfers.download)),
        _route(
            "POST", f"{kind}s/backup", _of(kind, lambda server, call, kind: transfers.import_backup(server, call, kind))
        ),
        _route("PATCH HEAD", f"{kind}s/backup/{{name}}", _of(kind, transfers.backup_chunk)),
    ]


def _schema(server: CvatDouble, call: Call) -> Answer:
    paths: dict[str, dict[str, object]] = {
        route.template: {method.lower(): {} for method in route.methods} for route in ROUTES
    }
    return Answer(
        200,
        {"openapi": "3.0.3", "info": {"title": "CVAT REST API", "version": server.version}, "paths": paths},
        "application/vnd.oai.openapi+json",
    )


ROUTES: Sequence[Route] = (
    _route("GET HEAD", "server/about", info.about, open_to_all=True),
    _route("GET", "server/annotation/formats", info.annotation_formats),
    _route("GET", "server/plugins", info.plugins),
    _route("GET", "schema", _schema, open_to_all=True),
    _route("POST", "auth/login", people.login, open_to_all=True),
    _route("GET POST HEAD", "auth/logout", people.logout, open_to_all=True),
    _route("POST", "auth/register", people.register, open_to_all=True),
    _route("GET POST HEAD", "auth/access_tokens", people.tokens),
    _route("GET PATCH DELETE HEAD", "auth/access_tokens/{name}", people.token),
    _route("GET HEAD", "users", people.users),
    _route("GET HEAD", "users/{name}", people.user),
    _route("GET POST HEAD", "organizations", people.organizations),
    _route("GET HEAD", "organizations/{id}", people.organization),
    _route("GET HEAD", "memberships", people.memberships),
    _route("GET HEAD", "requests", requests.index),
    _route("POST", "requests/{rest}/cancel", requests.cancel),
    _route("GET HEAD", "requests/{rest}", requests.one),
    _route("GET HEAD", "labels", labels.index),
    _route("GET PATCH DELETE HEAD", "labels/{id}", labels.one),
    _route("GET POST HEAD", "issues", issues.issues),
    _route("GET PATCH DELETE HEAD", "issues/{id}", issues.issue),
    _route("GET POST HEAD", "comments", issues.comments),
    _route("GET HEAD", "webhooks/events", webhooks.events),
    _route("GET POST HEAD", "webhooks", webhooks.index),
    _route("GET PUT PATCH DELETE HEAD", "webhooks/{id}", webhooks.one),
    _route("POST", "webhooks/{id}/ping", webhooks.ping),
    _route("GET HEAD", "webhooks/{id}/deliveries", webhooks.deliveries),
    *_transfer_routes("project"),
    *_transfer_routes("task"),
    *_transfer_routes("job"),
    _route("GET POST HEAD", "projects", projects.index),
    _route("GET PATCH DELETE HEAD", "projects/{id}", projects.one),
    _route("GET POST HEAD", "projects/{id}/dataset", _annotations("project", _of("project", tasks.gone))),
    _route("PATCH HEAD", "projects/{id}/dataset/{name}", _of("project", transfers.annotation_chunk)),
    _route("GET POST HEAD", "tasks", tasks.index),
    _route("GET PATCH DELETE HEAD", "tasks/{id}", tasks.one),
    _route("GET POST PUT PATCH DELETE HEAD", "tasks/{id}/annotations", _annotations("task", tasks.annotations_of)),
    _route("PATCH HEAD", "tasks/{id}/annotations/{name}", _of("task", transfers.annotation_chunk)),
    _route("GET", "tasks/{id}/dataset", _of("task", tasks.gone)),
    _route("GET PATCH HEAD", "tasks/{id}/data/meta", _task_media(_meta)),
    _route("GET POST HEAD", "tasks/{id}/data", _either(_task_upload(media.post_data), _task_media(media.get_data))),
    _route("PATCH HEAD", "tasks/{id}/data/{name}", _task_upload(media.upload_chunk)),
    _route("GET", "tasks/{id}/preview", _task_media(media.get_preview)),
    _route("GET HEAD", "jobs", jobs.index),
    _route("GET PATCH HEAD", "jobs/{id}", jobs.one),
    _route("GET POST PUT PATCH DELETE HEAD", "jobs/{id}/annotations", _annotations("job", jobs.annotations_of)),
    _route("PATCH HEAD", "jobs/{id}/annotations/{name}", _of("job", transfers.annotation_chunk)),
    _route("GET", "jobs/{id}/dataset", _of("job", tasks.gone)),
    _route("GET PATCH HEAD", "jobs/{id}/data/meta", _task_media(_meta, of_job=True)),
    _route("GET HEAD", "jobs/{id}/data", _task_media(media.get_data, of_job=True)),
    _route("GET", "jobs/{id}/preview", _task_media(media.get_preview, of_job=True)),
)


def find(call: Call) -> tuple[Route, tuple[str, ...]]:
    """The route of a call and what its path names; 404 in HTML as from Django, 405 as from its REST framework."""
    for route in ROUTES:
        if match := route.path.match(call.path):
            if call.method in route.methods:
                return route, match.groups()
            raise Refused(405, {"detail": f'Method "{call.method}" not allowed.'}, Allow=", ".join(route.methods))
    raise Refused(404, _NOT_FOUND, "text/html; charset=utf-8")
