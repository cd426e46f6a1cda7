"""`/api/jobs`."""

from typing import Any

from tests.doubles.cvat import access, annotations, bodies, listing, lookup, webhooks
from tests.doubles.cvat import resources_projects as projects
from tests.doubles.cvat import resources_tasks as tasks
from tests.doubles.cvat.render import Render
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import STAGES, STATES, Job, State
from tests.doubles.cvat.wire import Answer, Call, Refused

Json = dict[str, Any]
_WRITABLE = ("assignee", "stage", "state")
_ACTIONS = {
    "create": annotations.append_job,
    "update": annotations.update_job,
    "delete": annotations.delete_job,
}


def fields(state: State) -> listing.Fields[Job]:
    def project_of(job: Job) -> int | None:
        return state.tasks[job.task_id].project_id

    return listing.Fields(
        {
            "id": lambda job: job.id,
            "task_id": lambda job: job.task_id,
            "task_name": lambda job: state.tasks[job.task_id].name,
            "project_id": project_of,
            "project_name": lambda job: state.projects[project_of(job) or 0].name if project_of(job) else None,
            "assignee": lambda job: projects.username(state, job.assignee_id),
            "stage": lambda job: job.stage,
            "state": lambda job: job.state,
            "type": lambda job: job.type,
            "mode": lambda job: getattr(state.tasks[job.task_id].media, "mode", ""),
            "dimension": lambda job: "2d",
            "media_type": lambda job: "image",
            "parent_job_id": lambda job: None,
            "updated_date": lambda job: job.updated_date,
        },
        simple=(
            "assignee",
            "dimension",
            "media_type",
            "mode",
            "parent_job_id",
            "project_id",
            "project_name",
            "stage",
            "state",
            "task_id",
            "task_name",
            "type",
        ),
        search=("assignee", "project_name", "task_name"),
        choices={
            "stage": STAGES,
            "state": STATES,
            "type": ("annotation", "ground_truth", "consensus_replica"),
            "mode": tasks.MODES,
            "dimension": tasks.DIMENSIONS,
            "media_type": tasks.MEDIA_TYPES,
        },
    )


def index(server: Server, call: Call) -> Answer:
    state, caller = server.state, call.caller
    seen = [
        job
        for job in state.jobs.values()
        if projects.in_space(call, state.tasks[job.task_id].organization_id) and access.sees_job(state, caller, job)
    ]
    return listing.page(call, seen, fields(state), Render(state, call.base_url, caller).job)


def one(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    job = lookup.job(state, call, number)
    if call.method == "PATCH":
        body = call.json()
        bodies.unknown_fields(body, _WRITABLE)
        bodies.choice(body, "stage", STAGES)
        bodies.choice(body, "state", STATES)
        bodies.user(state, body, "assignee")
        may = access.sees_task(state, call.caller, state.tasks[job.task_id])
        if not may and set(body) - {"state"}:
            raise Refused(403, access.FORBIDDEN)
        change(server, call, job, body)
    return Answer(200, Render(state, call.base_url, call.caller).job(job))


def change(server: Server, call: Call, job: Job, body: Json) -> None:
    """The stage, the state, the assignee: with what follows for the job and its task."""
    state = server.state
    task = state.tasks[job.task_id]
    render = Render(state, call.base_url, call.caller)
    job_before, task_before = render.job(job), render.task(task)
    if "assignee" in body and body["assignee"] != job.assignee_id:
        job.assignee_id, job.assignee_updated_date = body["assignee"], state.now()
    if "stage" in body and body["stage"] != job.stage:
        job.stage = body["stage"]
        # A new stage begins anew, unless the same call says where it stands.
        job.state = body.get("state", "new")
    job.state = body.get("state", job.state)
    if "stage" in body or "state" in body:
        job.status = _status(job)
    job.updated_date = state.now()
    moved = tasks.refresh_status(state, task)
    if moved:
        webhooks.changed(server, call, "task", task_before, render.task(task), project_id=task.project_id)
    webhooks.changed(server, call, "job", job_before, render.job(job), project_id=task.project_id)


def _status(job: Job) -> str:
    if job.stage == "annotation":
        return "annotation"
    return "completed" if (job.stage, job.state) == ("acceptance", "completed") else "validation"


def annotations_of(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    job = lookup.job(state, call, number)
    match call.method:
        case "GET" if "format" in call.query:
            return tasks.gone(server, call, "job", number)
        case "GET":
            return Answer(200, annotations.of_job(state, job))
        case "PUT":
            return Answer(200, annotations.put_job(state, job, annotations.check(call.json())))
        case "DELETE":
            annotations.clear(state, [job])
            return Answer(204)
        case _:
            if call.query.get("action") not in _ACTIONS:
                raise Refused(400, ["Please specify a correct 'action' for the request"])
            return Answer(200, _ACTIONS[call.query["action"]](state, job, annotations.check(call.json())))
