"""What there is on the server: one listing of tasks and one of jobs, and a project's labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import find_project, jobs_of, labels_of, tasks_of
from specrun.clients.cvat.things import Job, LabelDef, Project, Task
from specrun.kinds.cvat_pull.spec import CvatSourceSpec


@dataclass(frozen=True)
class Asked:
    """project: None for single tasks, whose labels are asked with each. where: what messages call it."""

    project: Project | None
    tasks: tuple[Task, ...]
    jobs: tuple[Job, ...]
    labels: tuple[LabelDef, ...]
    where: str


def ask(api: Api, spec: CvatSourceSpec, made: Mapping[str, Any] | None) -> Asked:
    """made: the facts of `cvat_projects.x` where `from` names it. Raises NodeError: no such project."""
    host = api.connection.host
    wanted = spec.project if made is None else made.get("project_id")
    only = spec.tasks if made is None else [int(task) for task in made.get("task_ids") or ()]
    if wanted is None:
        ids = list(only or ())
        tasks = tasks_of(api, ids=ids) if ids else []
        jobs = jobs_of(api, task_ids=[task.id for task in tasks]) if tasks else []
        return Asked(None, tuple(tasks), tuple(jobs), (), f"{host}: tasks {', '.join(map(str, ids))}")
    project = find_project(api, wanted)
    tasks = tasks_of(api, project_id=project.id)
    if made is not None:
        tasks = [task for task in tasks if task.id in set(only or ())]
    jobs = jobs_of(api, project_id=project.id)
    labels = labels_of(api, project_id=project.id)
    return Asked(project, tuple(tasks), tuple(jobs), tuple(labels), f'{host}: project {project.id} "{project.name}"')
