"""What there is on a CVAT server: projects, tasks, jobs, labels, frames, formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from specrun.clients.cvat.answers import Refused, plain
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.things import FrameIndex, Job, LabelDef, Project, Task
from specrun.errors import NodeError

OLDEST, NEWEST = (2, 73), (2, 81)
"""Servers that specrun knows: recorded with 2.73; cvat-sdk 2.80 says that it works up to 2.81."""
MANY_IDS = 20
"""More tasks than this are listed rather than asked for one by one."""
_LISTED = 8


@dataclass(frozen=True, slots=True)
class Format:
    """An export format of the server's own."""

    name: str
    extension: str
    enabled: bool


def server_version(api: Api) -> str:
    about = api.get("/api/server/about")
    version = plain(about.get("version")) if isinstance(about, dict) else ""
    if not version:
        raise NodeError(f"{api.connection.host}: tells no version", hint="Is this address a CVAT server?")
    return version


def version_warning(version: str) -> str | None:
    """One sentence for a server that is older or newer than those that specrun knows."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and OLDEST <= (int(found[1]), int(found[2])) <= NEWEST:
        return None
    known = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
    return f"CVAT {version}: specrun knows CVAT {known}; something may not work"


def find_project(api: Api, name_or_id: str | int) -> Project:
    """A whole number is an id, also as text, unless a project is called so.

    Raises NodeError: unknown (with the nearest names), or a name that several have (with their ids).
    """
    host = api.connection.host
    if isinstance(name_or_id, int):
        try:
            return Project.from_json(api.get(f"/api/projects/{name_or_id}"))
        except Refused as refused:
            if refused.status == 404 and "organization" not in refused.message:
                raise NodeError(f"{host}: there is no project {name_or_id}", hint=_known(api, "")) from None
            raise
    found = [p for p in map(Project.from_json, api.pages("/api/projects", name=name_or_id)) if p.name == name_or_id]
    if not found and name_or_id.isdecimal():
        return find_project(api, int(name_or_id))
    if not found:
        raise NodeError(f'{host}: there is no project "{name_or_id}"', hint=_known(api, name_or_id))
    if len(found) > 1:
        listed = ", ".join(f"{p.id} (of {p.owner or 'nobody'}, {p.task_count} tasks)" for p in found[:_LISTED])
        raise NodeError(f'{host}: {len(found)} projects are called "{name_or_id}"', hint=f"Give an id: {listed}.")
    return found[0]


def projects_of(api: Api) -> list[Project]:
    """All that the account sees, by id."""
    return sorted(map(Project.from_json, api.pages("/api/projects")), key=lambda project: project.id)


def _known(api: Api, name: str) -> str:
    names = [p.name for p in projects_of(api)]
    by_folded = {n.lower(): n for n in names}
    close = [by_folded[n] for n in get_close_matches(name.lower(), list(by_folded), n=3, cutoff=0.5)]
    inside = [n for n in names if len(name) > 2 and name.lower() in n.lower() and n not in close][:3]
    if close or inside:
        quoted = " or ".join(f'"{n}"' for n in [*close, *inside][:3])
        return f"Did you mean {quoted}?"
    space = "in the organization or personal space of the connection"
    listed = ", ".join(f'"{n}"' for n in names[:_LISTED])
    return f"There are {len(names)} {space}: {listed}{' …' if len(names) > _LISTED else ''}." if names else (
        f"There are none {space}; check `organization`."
    )  # fmt: skip


def tasks_of(api: Api, project_id: int | None = None, ids: Iterable[int] | None = None) -> list[Task]:
    """By id: all of a project, some by their ids, or both. Ids that the server does not know are left out."""
    wanted = None if ids is None else sorted(set(ids))
    if wanted is not None and project_id is None and len(wanted) <= MANY_IDS:
        found: Iterator[Task] = (task for number in wanted if (task := find_task(api, number)) is not None)
    else:
        found = map(Task.from_json, api.pages("/api/tasks", project_id=project_id))
    chosen = None if wanted is None else set(wanted)
    return sorted((t for t in found if chosen is None or t.id in chosen), key=lambda task: task.id)


def find_task(api: Api, task_id: int) -> Task | None:
    """None: the server does not know it, or it was deleted."""
    try:
        return Task.from_json(api.get(f"/api/tasks/{task_id}"))
    except Refused as refused:
        if refused.status == 404 and "organization" not in refused.message:
            return None
        raise


def tasks_marked(api: Api, bug_tracker: str, project_id: int | None = None) -> list[Task]:
    """Tasks whose `bug_tracker` is that text, by id: how specrun finds what it made."""
    found = map(Task.from_json, api.pages("/api/tasks", tracker_link=bug_tracker, project_id=project_id))
    # A server that does not know the filter ignores it.
    return sorted((task for task in found if task.bug_tracker == bug_tracker), key=lambda task: task.id)


def tasks_marked_with(api: Api, beginning: str, project_id: int | None = None) -> list[Task]:
    """Tasks whose `bug_tracker` begins with that text, by id."""
    rules: dict[str, Any] = {"in": [beginning, {"var": "tracker_link"}]}
    if project_id is not None:
        rules = {"and": [rules, {"==": [{"var": "project_id"}, project_id]}]}
    found = map(Task.from_json, api.pages("/api/tasks", filter=json.dumps(rules)))
    return sorted((task for task in found if task.bug_tracker.startswith(beginning)), key=lambda task: task.id)


def jobs_of(api: Api, project_id: int | None = None, task_ids: Iterable[int] | None = None) -> list[Job]:
    """By task and first frame; one listing for a whole project, one for each of a few tasks."""
    wanted = None if task_ids is None else set(task_ids)
    if wanted is not None and project_id is None and len(wanted) <= MANY_IDS:
        found: list[dict[str, Any]] = [job for t in sorted(wanted) for job in api.pages("/api/jobs", task_id=t)]
    else:
        found = list(api.pages("/api/jobs", project_id=project_id))
    jobs = (Job.from_json(job) for job in found)
    chosen = (job for job in jobs if wanted is None or job.task_id in wanted)
    return sorted(chosen, key=lambda job: (job.task_id, job.start_frame, job.id))


def labels_of(api: Api, *, project_id: int | None = None, task_id: int | None = None) -> list[LabelDef]:
    """In the server's order; points of skeletons stand inside their skeleton only. A task of a project has the
    project's labels."""
    # The labels of what one may see, whatever organization the connection is for.
    found = api.pages("/api/labels", project_id=project_id, task_id=task_id)
    return [LabelDef.from_json(label) for label in found if not label.get("has_parent")]


def frames_of(api: Api, task_id: int) -> FrameIndex:
    """Raises NodeError: the task has no data."""
    index = FrameIndex.from_json(api.get(f"/api/tasks/{task_id}/data/meta"))
    if not index.frames:
        raise NodeError(f"{api.connection.host}: task {task_id} has no images yet")
    return index


def formats(api: Api) -> list[Format]:
    """Those that the server exports."""
    told = api.get("/api/server/annotation/formats")
    return [
        Format(plain(one.get("name")), plain(one.get("ext")).lower(), bool(one.get("enabled", True)))
        for one in told.get("exporters", ())
    ]
