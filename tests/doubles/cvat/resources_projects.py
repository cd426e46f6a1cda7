"""`/api/projects`."""

from __future__ import annotations

from tests.doubles.cvat import access, bodies, labels, listing, lookup, resources_tasks, webhooks
from tests.doubles.cvat.render import Render
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import Project, State
from tests.doubles.cvat.wire import Answer, Call

STATUSES = ("annotation", "validation", "completed")
_WRITABLE = (
    "name",
    "labels",
    "owner_id",
    "assignee_id",
    "bug_tracker",
    "target_storage",
    "source_storage",
    "organization_id",
)


def fields(state: State) -> listing.Fields[Project]:
    return listing.Fields(
        {
            "id": lambda project: project.id,
            "name": lambda project: project.name,
            "owner": lambda project: username(state, project.owner_id),
            "assignee": lambda project: username(state, project.assignee_id),
            "status": lambda project: project.status,
            "updated_date": lambda project: project.updated_date,
        },
        simple=("assignee", "name", "owner", "status"),
        search=("assignee", "name", "owner"),
        choices={"status": STATUSES},
    )


def username(state: State, user_id: int | None) -> str | None:
    return state.users[user_id].username if user_id is not None else None


def in_space(call: Call, organization_id: int | None) -> bool:
    """Whether a list shows what belongs to that organization: all, one organization's, or nobody's."""
    if call.organization is not None:
        return organization_id == call.organization.id
    return organization_id is None or not call.sandbox


def index(server: Server, call: Call) -> Answer:
    state, caller = server.state, call.caller
    if call.method == "POST":
        return _create(server, call)
    seen = [
        project
        for project in state.projects.values()
        if in_space(call, project.organization_id) and access.sees_project(state, caller, project)
    ]
    return listing.page(call, seen, fields(state), Render(state, call.base_url, caller).project)


def _create(server: Server, call: Call) -> Answer:
    state, body = server.state, call.json()
    _check(state, body, required=True)
    when = state.now()
    project = Project(
        state.next_id("projects"),
        body["name"],
        body.get("owner_id") or call.caller.id,
        created_date=when,
        updated_date=when,
        organization_id=call.organization.id if call.organization else None,
        assignee_id=body.get("assignee_id"),
        bug_tracker=body.get("bug_tracker") or "",
    )
    labels.apply(state, project, body.get("labels", []))
    state.projects[project.id] = project
    shown = Render(state, call.base_url, call.caller).project(project)
    webhooks.happened(server, call, "create:project", "project", shown, project_id=project.id)
    return Answer(201, shown, headers={"Location": str(shown["url"])})


def _check(state: State, body: dict[str, object], *, required: bool = False) -> None:
    bodies.text(body, "name", longest=256, required=required)
    bodies.text(body, "bug_tracker", longest=2000, blank=True)
    bodies.user(state, body, "owner_id")
    bodies.user(state, body, "assignee_id")


def one(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    project = lookup.project(state, call, number)
    render = Render(state, call.base_url, call.caller)
    if call.method == "DELETE":
        shown = render.project(project)
        _delete(state, project)
        webhooks.happened(server, call, "delete:project", "project", shown, project_id=project.id)
        return Answer(204)
    if call.method == "PATCH":
        before = render.project(project)
        _change(state, call, project)
        shown = render.project(project)
        webhooks.changed(server, call, "project", before, shown, project_id=project.id)
    return Answer(200, render.project(project))


def _change(state: State, call: Call, project: Project) -> None:
    body = call.json()
    bodies.unknown_fields(body, _WRITABLE)
    _check(state, body)
    relabelled = labels.apply(state, project, body.get("labels", []))
    project.name = body.get("name", project.name)
    project.bug_tracker = body.get("bug_tracker", project.bug_tracker)
    project.owner_id = body.get("owner_id", project.owner_id)
    when = state.now()
    if body.get("assignee_id", project.assignee_id) != project.assignee_id:
        project.assignee_id, project.assignee_updated_date = body["assignee_id"], when
    project.updated_date = when
    if relabelled:
        labels.touch(state, project)


def _delete(state: State, project: Project) -> None:
    for task in state.tasks_of(project.id):
        resources_tasks.forget(state, task)
    for label in [label for label in state.labels.values() if label.project_id == project.id]:
        del state.labels[label.id]
    del state.projects[project.id]
