"""What the first apply would make in CVAT, for the plan: whoever agrees to it should know, since a label cannot be
taken away again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import find_project, labels_of, projects_of
from specrun.clients.cvat.things import Project
from specrun.errors import TransientError
from specrun.kinds.cvat_send.declared import wanted_labels
from specrun.kinds.cvat_send.labels import WantedLabel, plan_labels
from specrun.kinds.cvat_send.people import user_id
from specrun.kinds.cvat_send.project import existing_project
from specrun.kinds.cvat_send.report import counted
from specrun.kinds.cvat_send.spec import CvatProjectSpec, LabelsSpec
from specrun.model.work import Look
from specrun.spec.suggest import nearest

_LISTED = 12


def foretold(api: Api, spec: CvatProjectSpec, look: Look) -> tuple[str, ...]:
    """Sentences about a node that was never made.

    Raises CredentialsError, and NodeError for what would fail the run: an unknown id, a name that several projects
    have, labels of another type, an unknown assignee.
    """
    try:
        labels = wanted_labels(spec.labels, look.declarations, _classes(spec, look))
        found = _project(api, spec)
        lines = list(_project_lines(api, spec, found, labels))
        if spec.tasks.assignee is not None:
            user_id(api, spec.tasks.assignee)
    except TransientError as error:
        return (f"what would be made is not known: {error.message.rstrip('.')}",)
    return (*lines, task_line(spec, look))


def _project(api: Api, spec: CvatProjectSpec) -> Project | None:
    if spec.project is None:
        return None
    return find_project(api, spec.project) if spec.labels == "keep" else existing_project(api, spec.project)


def _project_lines(
    api: Api, spec: CvatProjectSpec, found: Project | None, labels: Sequence[WantedLabel] | None
) -> Iterator[str]:
    host, names = api.connection.host, [label.name for label in labels or ()]
    if spec.project is None:
        yield f"{host}: tasks without a project, with {_named(names)}"
        return
    if found is None:
        near = nearest(str(spec.project), (project.name for project in projects_of(api)))
        meant = f'; did you mean "{near}"?' if near else ""
        yield f'{host}: a new project "{spec.project}" with {_named(names)}{meant}'
        return
    where = f'{host}: project "{found.name}" ({found.id}, {counted(found.task_count, "task")})'
    if labels is None:
        yield f"{where} keeps its labels"
        return
    there = labels_of(api, project_id=found.id)
    rename = spec.labels.rename if isinstance(spec.labels, LabelsSpec) else {}
    plan = plan_labels(there, labels, rename, where)
    told = [sentence.replace("labels added: ", "new labels ") for sentence in plan.sentences()]
    yield f"{where} has all labels" if not told else f"{where}: {'; '.join(told)}"
    yield from near_labels(plan.added, [label.name for label in there])


def near_labels(added: Iterable[str], there: Sequence[str]) -> Iterator[str]:
    """Warnings of labels that look like those that are there: a label cannot be taken away again."""
    for name in added:
        near = nearest(name, there)
        if near is not None:
            yield f'the new label "{name}" is close to "{near}", which is there: it cannot be taken away again'


def new_labels(api: Api, spec: CvatProjectSpec, look: Look) -> tuple[str, ...]:
    """Sentences about labels that the spec has got since the node was made; without any, nothing is asked."""
    facts = look.record.facts if look.record else {}
    before, project = facts.get("label_names"), facts.get("project_id")
    labels = wanted_labels(spec.labels, look.declarations, _classes(spec, look)) or ()
    renamed = spec.labels.rename.values() if isinstance(spec.labels, LabelsSpec) else ()
    added = [one.name for one in labels if isinstance(before, list) and one.name not in (*before, *renamed)]
    if not added or not isinstance(project, int):
        return ()
    there = [label.name for label in labels_of(api, project_id=project)]
    lacking = [name for name in added if name not in there]
    return (f"{api.connection.host}: new labels {', '.join(lacking)}", *near_labels(lacking, there)) if lacking else ()


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"the {'label' if len(names) == 1 else 'labels'} {', '.join(names[:_LISTED])}{more}"


def _classes(spec: CvatProjectSpec, look: Look) -> Sequence[str]:
    facts = look.facts(spec.tasks.from_) or {}
    return [str(name) for name in facts.get("classes") or ()]


def task_line(spec: CvatProjectSpec, look: Look) -> str:
    """How many images in how many tasks, as far as the input's facts say."""
    tasks, facts = spec.tasks, look.facts(spec.tasks.from_)
    images = facts.get("images", facts.get("samples")) if facts is not None else None
    most = f" at most {tasks.choose.n:,}" if tasks.choose is not None else ""
    if not isinstance(images, int):
        return f"images:{most or ' all'} of {tasks.from_}, in tasks of {tasks.size:,}"
    if tasks.choose is not None and tasks.choose.n < images:
        few = math.ceil(tasks.choose.n / tasks.size)
        return f"images: {tasks.choose.n:,} of {images:,} of {tasks.from_}, in {counted(few, 'task')} or more"
    number = sum(math.ceil(count / tasks.size) for count in _splits(facts or {}, images))
    more = "" if isinstance((facts or {}).get("splits"), Mapping) else " or more"
    return f"images: {images:,} of {tasks.from_}, in {counted(number, 'task')}{more}"


def _splits(facts: Mapping[str, Any], images: int) -> list[int]:
    """Images of each split, and those of none."""
    given = facts.get("splits")
    known = [count for count in given.values() if isinstance(count, int)] if isinstance(given, Mapping) else []
    return [*known, max(images - sum(known), 0)]
