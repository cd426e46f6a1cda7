"""What there is on the server: one listing of tasks and one of jobs, and a project's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import MANY_IDS, find_project, find_task, jobs_of, labels_of, tasks_of
from specrun.clients.cvat.things import Job, LabelDef, Project, Task
from specrun.errors import NodeError
from specrun.kinds.cvat_pull.spec import CvatSourceSpec
from specrun.model.digest import Json


@dataclass(frozen=True)
class Asked:
    """project: None for single tasks, whose labels are asked with each. where: what messages call it.
    moved: tasks that were pulled from the project and are elsewhere on the server now."""

    project: Project | None
    tasks: tuple[Task, ...]
    jobs: tuple[Job, ...]
    labels: tuple[LabelDef, ...]
    where: str
    moved: frozenset[int] = frozenset()


def ask(api: Api, spec: CvatSourceSpec, made: Mapping[str, Any] | None, before: Json) -> Asked:
    """made: the facts of `cvat_projects.x` where `from` names it. before: the value recorded with the last pull.

    Raises NodeError: no such project, or one whose tasks the connection's organization hides.
    """
    host = api.connection.host
    wanted = spec.project if made is None else made.get("project_id")
    only = spec.tasks if made is None else [int(task) for task in made.get("task_ids") or ()]
    if wanted is None:
        ids = list(only or ())
        tasks = tasks_of(api, ids=ids) if ids else []
        jobs = jobs_of(api, task_ids=[task.id for task in tasks]) if tasks else []
        return Asked(None, tuple(tasks), tuple(jobs), (), f"{host}: tasks {', '.join(map(str, ids))}")
    project = find_project(api, wanted)
    where = f'{host}: project {project.id} "{project.name}"'
    tasks = tasks_of(api, project_id=project.id)
    moved = _elsewhere(api, project, tasks, before, where)
    if made is not None:
        tasks = [task for task in tasks if task.id in set(only or ())]
    jobs = jobs_of(api, project_id=project.id)
    labels = labels_of(api, project_id=project.id)
    return Asked(project, tuple(tasks), tuple(jobs), tuple(labels), where, moved)


def _elsewhere(api: Api, project: Project, tasks: Sequence[Task], before: Json, where: str) -> frozenset[int]:
    """Pulled tasks that the project does not list: which of them are still there.

    A listing holds what belongs to the connection's organization, while a project is found by its id from
    everywhere: tasks that are not listed are not called deleted before the server has said so of them.
    """
    listed = {task.id for task in tasks}
    recorded: Mapping[str, Any] = before if isinstance(before, dict) and before.get("project") == project.id else {}
    absent = sorted({int(task) for task in recorded.get("tasks") or ()} - listed)
    there = [task for number in absent[:MANY_IDS] if (task := find_task(api, number)) is not None]
    hidden = [task for task in there if task.project_id == project.id]
    if hidden or (not tasks and project.task_count):
        raise NodeError(
            f"{where}: has {project.task_count} tasks, and the server lists {len(tasks)} of them for this connection.",
            hint="Mend `organization` of the connection: the project belongs to another one, or to a personal space.",
        )
    return frozenset(task.id for task in there)
