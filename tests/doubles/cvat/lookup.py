"""Things by the id in an address: 404 when there is none, 403 when the caller may not see it."""

from __future__ import annotations

from typing import TypeVar

from tests.doubles.cvat import access
from tests.doubles.cvat.state import Job, Project, State, Task
from tests.doubles.cvat.wire import Call, Refused

T = TypeVar("T")


def project(state: State, call: Call, number: str | int) -> Project:
    found = state.projects.get(int(number))
    if found is None:
        raise Refused(404, {"detail": "No Project matches the given query."})
    return _seen(found, access.sees_project(state, call.caller, found))


def task(state: State, call: Call, number: str | int, *, for_assignee: bool = False) -> Task:
    """for_assignee: who has a job of the task may too."""
    found = state.tasks.get(int(number))
    if found is None:
        raise Refused(404, {"detail": "No Task matches the given query."})
    assigned = for_assignee and any(job.assignee_id == call.caller.id for job in state.jobs_of(found.id))
    return _seen(found, assigned or access.sees_task(state, call.caller, found))


def job(state: State, call: Call, number: str | int) -> Job:
    found = state.jobs.get(int(number))
    if found is None:
        raise Refused(404, {"detail": "No Job matches the given query."})
    return _seen(found, access.sees_job(state, call.caller, found))


def _seen(found: T, may: bool) -> T:
    if not may:
        raise Refused(403, access.FORBIDDEN)
    return found
