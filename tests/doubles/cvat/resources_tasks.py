"""`/api/tasks`."""

from typing import Any

from tests.doubles.cvat import access, annotations, bodies, labels, listing, lookup, webhooks
from tests.doubles.cvat import resources_projects as projects
from tests.doubles.cvat.render import Render
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import State, Task
from tests.doubles.cvat.wire import Answer, Call, Refused

Json = dict[str, Any]
_CREATABLE = ("name", "project_id", "labels", "owner_id", "assignee_id", "bug_tracker", "subset")
_WRITABLE = (*_CREATABLE, "target_storage", "source_storage", "organization_id")
MODES = ("annotation", "interpolation")
DIMENSIONS = ("1d", "2d", "3d")
MEDIA_TYPES = ("image", "point_cloud", "audio")
_GONE = """This endpoint is no longer supported.
To initiate the export process, use POST /api/{kind}s/id/dataset/export?save_images={images}.
To check the process status, use GET /api/requests/rq_id,
where rq_id is obtained from the response of the previous request.
To download the prepared file, use the result_url obtained from the response of the previous request.
"""


def fields(state: State) -> listing.Fields[Task]:
    return listing.Fields(
        {
            "id": lambda task: task.id,
            "name": lambda task: task.name,
            "project_id": lambda task: task.project_id,
            "project_name": lambda task: state.projects[task.project_id].name if task.project_id else None,
            "owner": lambda task: projects.username(state, task.owner_id),
            "assignee": lambda task: projects.username(state, task.assignee_id),
            "status": lambda task: task.status,
            "subset": lambda task: task.subset,
            "tracker_link": lambda task: task.bug_tracker,
            "mode": lambda task: task.media.mode if task.media else "",
            "dimension": lambda task: "2d" if task.media else "",
            "media_type": lambda task: "image" if task.media else "",
            "validation_mode": lambda task: None,
            "updated_date": lambda task: task.updated_date,
        },
        simple=(
            "assignee",
            "dimension",
            "media_type",
            "mode",
            "name",
            "owner",
            "project_id",
            "project_name",
            "status",
            "subset",
            "tracker_link",
            "validation_mode",
        ),
        search=("assignee", "name", "owner", "project_name", "subset", "tracker_link"),
        choices={
            "status": projects.STATUSES,
            "mode": MODES,
            "dimension": DIMENSIONS,
            "media_type": MEDIA_TYPES,
            "validation_mode": ("gt", "gt_pool"),
        },
    )


def index(server: Server, call: Call) -> Answer:
    state, caller = server.state, call.caller
    if call.method == "POST":
        return _create(server, call)
    seen = [
        task
        for task in state.tasks.values()
        if projects.in_space(call, task.organization_id) and access.sees_task(state, caller, task)
    ]
    return listing.page(call, seen, fields(state), Render(state, call.base_url, caller).task)


def _create(server: Server, call: Call) -> Answer:
    state, body = server.state, call.json()
    _check(state, body, required=True)
    organization_id = call.organization.id if call.organization else None
    project_id = body.get("project_id")
    if project_id is not None:
        project = state.projects.get(project_id)
        if project is None:
            raise Refused(400, ["Project matching query does not exist."])
        if body.get("labels"):
            raise Refused(400, ["Task must have only one of Label set or project_id"])
        if not access.sees_project(state, call.caller, project):
            raise Refused(403, access.FORBIDDEN)
        if project.organization_id != organization_id:
            raise Refused(400, ["The task and its project should be in the same organization."])
    when = state.now()
    task = Task(
        state.next_id("tasks"),
        body["name"],
        body.get("owner_id") or call.caller.id,
        created_date=when,
        updated_date=when,
        project_id=project_id,
        organization_id=organization_id,
        assignee_id=body.get("assignee_id"),
        bug_tracker=body.get("bug_tracker") or "",
        subset=body.get("subset") or "",
        segment_size=body.get("segment_size") or 0,
        overlap=body.get("overlap"),
        consensus_replicas=body.get("consensus_replicas") or 0,
    )
    labels.apply(state, task, body.get("labels", []))
    state.tasks[task.id] = task
    if project_id is not None:
        state.projects[project_id].updated_date = state.now()
    shown = Render(state, call.base_url, call.caller).task(task)
    webhooks.happened(server, call, "create:task", "task", shown, project_id=project_id)
    return Answer(201, shown, headers={"Location": str(shown["url"])})


def _check(state: State, body: Json, *, required: bool = False) -> None:
    if not isinstance(body, dict):
        raise Refused(400, {"non_field_errors": ["Invalid data. Expected a dictionary."]})
    bodies.text(body, "name", longest=256, required=required)
    bodies.text(body, "bug_tracker", longest=2000, blank=True)
    bodies.text(body, "subset", longest=64, blank=True)
    bodies.whole_number(body, "segment_size")
    bodies.whole_number(body, "overlap")
    bodies.user(state, body, "owner_id")
    bodies.user(state, body, "assignee_id")


def one(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    task = lookup.task(state, call, number, for_assignee=call.method == "GET")
    render = Render(state, call.base_url, call.caller)
    if call.method == "DELETE":
        shown = render.task(task)
        forget(state, task)
        if task.project_id is not None:
            state.projects[task.project_id].updated_date = state.now()
        webhooks.happened(server, call, "delete:task", "task", shown, project_id=task.project_id)
        return Answer(204)
    if call.method == "PATCH":
        before = render.task(task)
        _change(state, call, task)
        webhooks.changed(server, call, "task", before, render.task(task), project_id=task.project_id)
    return Answer(200, render.task(task))


def _change(state: State, call: Call, task: Task) -> None:
    body = call.json()
    bodies.unknown_fields(body, _WRITABLE)
    _check(state, body)
    if body.get("labels"):
        if task.project_id is not None:
            raise Refused(400, ["Labels cannot be changed for a task that belongs to a project"])
        labels.apply(state, task, body["labels"])
    if body.get("project_id", task.project_id) != task.project_id:
        _move(state, task, body["project_id"])
    for name in ("name", "bug_tracker", "subset", "owner_id"):
        setattr(task, name, body.get(name, getattr(task, name)))
    when = state.now()
    if body.get("assignee_id", task.assignee_id) != task.assignee_id:
        task.assignee_id, task.assignee_updated_date = body["assignee_id"], when
    task.updated_date = when
    if body.get("labels"):
        labels.touch(state, task)


def _move(state: State, task: Task, project_id: int) -> None:
    """Into another project: shapes go over to the labels of the same names."""
    project = state.projects.get(project_id)
    if project is None:
        raise Refused(400, [f'Cannot find project with ID "{project_id}"'])
    wanted = {label.name: label for label in state.labels_of_project(project.id)}
    old = state.labels_of(task)
    used = {shape["label_id"] for job in state.jobs_of(task.id) for shape in (*job.tags, *job.shapes, *job.tracks)}
    for label in old:
        if label.id in used and label.name not in wanted:
            raise Refused(400, [f"Target project does not have label with name '{label.name}'"])
    renamed = {label.id: wanted[label.name].id for label in old if label.name in wanted}
    for job in state.jobs_of(task.id):
        for thing in (*job.tags, *job.shapes, *job.tracks):
            thing["label_id"] = renamed[thing["label_id"]]
    if task.project_id is None:
        for label in old:
            state.labels.pop(label.id)
    task.project_id = project.id


def forget(state: State, task: Task) -> None:
    for job in state.jobs_of(task.id):
        for issue in [issue for issue in state.issues.values() if issue.job_id == job.id]:
            del state.issues[issue.id]
        del state.jobs[job.id]
    for label in [label for label in state.labels.values() if label.task_id == task.id]:
        del state.labels[label.id]
    for request in [one for one in state.requests.values() if one.task_id == task.id and one.type == "create:task"]:
        del state.requests[request.id]
    del state.tasks[task.id]


def refresh_status(state: State, task: Task) -> bool:
    """What the jobs make of a task; True when that changed (and moved the task's date)."""
    statuses = [job.status for job in state.jobs_of(task.id)]
    if statuses and all(status == "completed" for status in statuses):
        status = "completed"
    elif "annotation" in statuses or not statuses:
        status = "annotation"
    else:
        status = "validation"
    if status == task.status:
        return False
    task.status, task.updated_date = status, state.now()
    return True


def gone(server: Server, call: Call, kind: str, number: str) -> Answer:
    """The addresses that exported before there were requests."""
    text = _GONE.format(kind=kind, images=call.path.rstrip("/").endswith("/dataset"))
    return Answer(410, text.encode(), "text/html; charset=utf-8")


def annotations_of(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    task = lookup.task(state, call, number)
    match call.method:
        case "GET" if "format" in call.query:
            return gone(server, call, "task", number)
        case "GET":
            return Answer(200, annotations.of_task(state, task))
        case "PUT":
            return Answer(200, annotations.put(state, task, call.json()))
        case "DELETE":
            annotations.clear(state, state.jobs_of(task.id))
            return Answer(204)
        case _:
            return Answer(200, patch_action(call)(state, task, call.json()))


def patch_action(call: Call) -> Any:
    actions = {"create": annotations.append, "update": annotations.update, "delete": annotations.delete}
    if call.query.get("action") not in actions:
        raise Refused(400, ["Please specify a correct 'action' for the request"])
    return actions[call.query["action"]]
