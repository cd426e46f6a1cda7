"""The project in CVAT: found or made once, its labels brought in line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specrun.clients.cvat.answers import Refused
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import find_project, labels_of, tasks_marked_with
from specrun.clients.cvat.things import LabelDef, Project
from specrun.errors import NodeError, TransientError
from specrun.kinds.cvat_send.labels import LabelFate, LabelPlan, WantedLabel, fate_of, plan_labels
from specrun.kinds.cvat_send.ledger import mark_of
from specrun.kinds.cvat_send.once import make_once
from specrun.model.work import Context

_ROUNDS = 3


@dataclass(frozen=True)
class Target:
    """The project with its labels as they are now, those that people renamed under the spec's names. made: by this run.
    label_ids: of all labels that the spec wanted once, by name. deleted: by people. notes: for people."""

    project: Project
    labels: tuple[LabelDef, ...]
    plan: LabelPlan
    made: bool
    label_ids: Mapping[str, int]
    deleted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def ensure_project(
    api: Api, wanted: str | int, labels: Sequence[WantedLabel] | None, rename: Mapping[str, str], ctx: Context
) -> Target:
    """labels: None keeps those that the project has.

    Raises NodeError: a name that several projects have, an unknown id, a label that cannot be brought in line.
    """
    found = _known_project(api, wanted, ctx) or existing_project(api, wanted)
    notes: list[str] = []
    if found is None and (found := _marked_project(api, ctx)) is not None:
        notes.append(f'the project "{found.name}" ({found.id}) was found by the marks on its tasks, not by its name')
    made = found is None
    if found is None:
        if labels is None:
            raise NodeError(
                f'{api.connection.host}: there is no project "{wanted}" whose labels could be kept.',
                hint="Give its labels, or the name of a project that exists.",
            )
        found = _make_project(api, str(wanted), labels, ctx)
    ctx.remember(_memory_key(api), {"id": found.id, "wanted": wanted})
    memory = f"labels@{api.connection.host}/{found.id}"
    before: Any = ctx.recall(memory) or {}
    fate = fate_of(labels_of(api, project_id=found.id), labels or (), before, rename)
    plan = _bring_in_line(api, found, labels, fate, rename)
    there = [fate.ours(label) for label in labels_of(api, project_id=found.id)]
    wanted_names = {label.name for label in labels or ()}
    ids = {**before, **{label.name: label.id for label in there if label.name in wanted_names}}
    ctx.remember(memory, ids)
    return Target(found, tuple(there), plan, made, ids, fate.deleted, (*notes, *fate.sentences()))


def _memory_key(api: Api) -> str:
    return f"project@{api.connection.host}"


def _marked_project(api: Api, ctx: Context) -> Project | None:
    """After a lost state, or in a colleague's copy: where this node's tasks are, whatever the project is called now."""
    if ctx.recall(_memory_key(api)) is not None:
        return None
    ids = Counter(task.project_id for task in tasks_marked_with(api, mark_of(ctx)) if task.project_id is not None)
    return find_project(api, ids.most_common(1)[0][0]) if ids else None


def _known_project(api: Api, wanted: str | int, ctx: Context) -> Project | None:
    """The one of last time, which people may have renamed; None when it is gone."""
    known: Any = ctx.recall(_memory_key(api))
    if not isinstance(known, dict) or known.get("wanted") != wanted:
        return None
    try:
        return Project.from_json(api.get(f"/api/projects/{known['id']}"))
    except Refused as refused:
        if refused.status == 404:
            return None
        raise


def existing_project(api: Api, wanted: str | int) -> Project | None:
    """None: there is no project of that name, so that it is made. Raises NodeError: several, or an unknown id."""
    if isinstance(wanted, int):
        return find_project(api, wanted)
    named = [one for one in map(Project.from_json, api.pages("/api/projects", name=wanted)) if one.name == wanted]
    return find_project(api, wanted) if len(named) > 1 else (named[0] if named else None)


def _make_project(api: Api, name: str, labels: Sequence[WantedLabel], ctx: Context) -> Project:
    def make() -> Project:
        body = {"name": name, "labels": [label.to_json() for label in labels]}
        return Project.from_json(api.post("/api/projects", body))

    return make_once(lambda: existing_project(api, name), make, look_first=False, check_stop=ctx.check_stop)


def _bring_in_line(
    api: Api, project: Project, labels: Sequence[WantedLabel] | None, fate: LabelFate, rename: Mapping[str, str]
) -> LabelPlan:
    """Looks again after a lost answer: a label that was added by it is not added twice."""
    if labels is None:
        return LabelPlan()
    done = LabelPlan()
    where = f'{api.connection.host}: project "{project.name}"'
    wanted = [label for label in labels if label.name not in fate.deleted]
    for attempt in range(_ROUNDS):
        there = [fate.ours(label) for label in labels_of(api, project_id=project.id)]
        plan = fate.theirs(plan_labels(there, wanted, rename, where))
        if not plan.patches:
            break
        done = plan if attempt == 0 else done
        try:
            api.patch(f"/api/projects/{project.id}", {"labels": list(plan.patches)})
        except TransientError:
            if attempt == _ROUNDS - 1:
                raise
    return done
