"""`/api/issues` and `/api/comments`."""

from __future__ import annotations

from tests.doubles.cvat import access, listing, lookup
from tests.doubles.cvat import resources_projects as projects
from tests.doubles.cvat.render import Render
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import Comment, Issue, State
from tests.doubles.cvat.wire import Answer, Call, Refused


def _fields(state: State) -> listing.Fields[Issue]:
    return listing.Fields(
        {
            "id": lambda issue: issue.id,
            "job_id": lambda issue: issue.job_id,
            "task_id": lambda issue: state.jobs[issue.job_id].task_id,
            "frame_id": lambda issue: issue.frame,
            "resolved": lambda issue: issue.resolved,
            "owner": lambda issue: projects.username(state, issue.owner_id),
            "assignee": lambda issue: projects.username(state, issue.assignee_id),
        },
        simple=("assignee", "frame_id", "job_id", "owner", "resolved", "task_id"),
        search=("assignee", "owner"),
    )


def issues(server: Server, call: Call) -> Answer:
    state = server.state
    render = Render(state, call.base_url, call.caller)
    if call.method == "POST":
        body = call.json()
        job = lookup.job(state, call, body["job"])
        when = state.now()
        number = state.next_id("issues")
        made = Issue(
            number, job.id, body["frame"], [float(one) for one in body["position"]], call.caller.id, when, when
        )
        state.issues[made.id] = made
        _say(state, made.id, call.caller.id, body["message"])
        return Answer(201, render.issue(made))
    seen = [issue for issue in state.issues.values() if access.sees_job(state, call.caller, state.jobs[issue.job_id])]
    return listing.page(call, seen, _fields(state), render.issue)


def issue(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    found = state.issues.get(int(number))
    if found is None:
        raise Refused(404, {"detail": "No Issue matches the given query."})
    lookup.job(state, call, found.job_id)
    if call.method == "DELETE":
        del state.issues[found.id]
        return Answer(204)
    if call.method == "PATCH":
        body = call.json()
        found.resolved = body.get("resolved", found.resolved)
        found.assignee_id = body.get("assignee", found.assignee_id)
        found.updated_date = state.now()
    return Answer(200, Render(state, call.base_url, call.caller).issue(found))


def comments(server: Server, call: Call) -> Answer:
    state = server.state
    render = Render(state, call.base_url, call.caller)
    if call.method == "POST":
        body = call.json()
        if body.get("issue") not in state.issues:
            raise Refused(400, {"issue": [f'Invalid pk "{body.get("issue")}" - object does not exist.']})
        return Answer(201, render.comment(_say(state, body["issue"], call.caller.id, body["message"])))
    fields: listing.Fields[Comment] = listing.Fields(
        {
            "id": lambda comment: comment.id,
            "issue_id": lambda comment: comment.issue_id,
            "owner": lambda comment: projects.username(state, comment.owner_id),
        },
        simple=("issue_id", "owner"),
        search=("owner",),
    )
    return listing.page(call, state.comments.values(), fields, render.comment)


def _say(state: State, issue_id: int, owner_id: int, message: str) -> Comment:
    when = state.now()
    made = Comment(state.next_id("comments"), issue_id, owner_id, message, when, when)
    state.comments[made.id] = made
    return made
