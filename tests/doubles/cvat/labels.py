"""Labels of a project or a task: made, changed and deleted as parts of their owner or one by one."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from tests.doubles.cvat import access, annotations, bodies, listing
from tests.doubles.cvat.render import Render
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import Attribute, Label, Project, State, Task
from tests.doubles.cvat.wire import Answer, Call, Refused

Json = dict[str, Any]
TYPES = (
    "any",
    "cuboid",
    "ellipse",
    "mask",
    "points",
    "polygon",
    "polyline",
    "rectangle",
    "skeleton",
    "interval",
    "tag",
)
_INPUTS = ("checkbox", "radio", "number", "text", "select")

FIELDS: listing.Fields[Label] = listing.Fields(
    {
        "id": lambda label: label.id,
        "name": lambda label: label.name,
        "color": lambda label: label.color,
        "type": lambda label: label.type,
        "parent_id": lambda label: label.parent_id,
        "parent": lambda label: None,
    },
    simple=("name", "color", "type", "parent", "parent_id"),
    search=("name", "parent"),
    choices={"type": TYPES},
    order="id",
)


def apply(state: State, owner: Project | Task, sent: Sequence[Json]) -> bool:
    """The `labels` of a POST or PATCH: without id they are added, with id changed or deleted. True: something did."""
    _check(sent)
    before = [label.name for label in labels_of_owner(state, owner)]
    added = [label["name"] for label in sent if "id" not in label]
    if len(set(added)) < len(added) or set(added) & set(before):
        raise Refused(400, ["All label names must be unique"])
    for item in sent:
        if "id" not in item:
            _add(state, owner, item)
            continue
        label = state.labels.get(item["id"])
        if label is None or label not in labels_of_owner(state, owner):
            raise Refused(404, {"detail": f"Not found label with id #{item['id']} to change"})
        if item.get("deleted"):
            delete(state, label)
        else:
            _change(state, label, item)
    return bool(sent)


def labels_of_owner(state: State, owner: Project | Task) -> list[Label]:
    return state.labels_of_project(owner.id) if isinstance(owner, Project) else state.labels_of(owner)


def _check(sent: Sequence[Json]) -> None:
    problems: list[Json] = []
    for item in sent:
        problem: Json = {}
        try:
            bodies.choice(item, "type", TYPES)
            bodies.text(item, "name", longest=64, required="id" not in item)
            for attribute in item.get("attributes", []):
                bodies.choice(attribute, "input_type", _INPUTS)
        except Refused as refused:
            problem = refused.answer.body
        problems.append(problem)
    if any(problems):
        raise Refused(400, {"labels": problems})


def _add(state: State, owner: Project | Task, item: Json, parent: Label | None = None) -> Label:
    kind = item.get("type", "any")
    label = Label(
        state.next_id("labels"),
        item["name"],
        item.get("color") or _free_color(state, owner, item["name"]),
        kind,
        attributes=[_attribute(state, attribute) for attribute in item.get("attributes", [])],
        project_id=owner.id if isinstance(owner, Project) else None,
        task_id=owner.id if isinstance(owner, Task) else None,
        parent_id=parent.id if parent else None,
    )
    state.labels[label.id] = label
    if kind == "skeleton":
        label.sublabels = [_add(state, owner, sublabel, label) for sublabel in item.get("sublabels", [])]
        label.svg = _with_ids(item.get("svg", ""), label.sublabels)
    return label


def _with_ids(svg: str, sublabels: Sequence[Label]) -> str:
    """Points named by their label are known by its id from then on."""
    for sublabel in sublabels:
        named = re.escape(f'data-label-name="{sublabel.name}"')
        svg = re.sub(named, f'data-label-id="{sublabel.id}"', svg)
    return svg


def _attribute(state: State, item: Json) -> Attribute:
    return Attribute(
        state.next_id("attributes"),
        item["name"],
        bool(item.get("mutable", False)),
        item["input_type"],
        str(item.get("default_value", "")),
        [str(value) for value in item.get("values", [])],
    )


def _free_color(state: State, owner: Project | Task, name: str) -> str:
    """From the name, by the palette of PASCAL VOC; another one when a label of the owner has it."""
    taken = {label.color for label in labels_of_owner(state, owner)}
    number = int.from_bytes(hashlib.blake2s(name.lower().encode(), digest_size=3).digest(), "big")
    while (color := _palette(number)) in taken:
        number += 1
    return color


def _palette(number: int) -> str:
    """Every third bit of the number, from the lowest up, makes a channel from its highest bit down."""
    channels = (sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3))
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _change(state: State, label: Label, item: Json) -> None:
    if "type" in item and item["type"] != label.type and "skeleton" in (item["type"], label.type):
        raise Refused(400, [f"Label type cannot be changed from {label.type} to {item['type']}"])
    label.name = item.get("name", label.name)
    label.color = item.get("color") or label.color
    label.type = item.get("type", label.type)
    for sent in item.get("attributes", []):
        known = next((attribute for attribute in label.attributes if attribute.id == sent.get("id")), None)
        if known is None:
            label.attributes.append(_attribute(state, sent))
        elif sent.get("deleted"):
            label.attributes.remove(known)
        else:
            known.name, known.values = sent.get("name", known.name), sent.get("values", known.values)
            known.default_value = sent.get("default_value", known.default_value)


def delete(state: State, label: Label) -> None:
    """With everything that was drawn with it."""
    gone = {label.id, *(sublabel.id for sublabel in label.sublabels)}
    annotations.forget_labels(state, gone)
    for label_id in gone:
        state.labels.pop(label_id, None)


def index(server: Server, call: Call) -> Answer:
    state, caller = server.state, call.caller
    render = Render(state, call.base_url, caller)
    found = [label for label in _asked_for(state, call) if label.parent_id is None]
    return listing.page(call, found, FIELDS, render.label)


def _asked_for(state: State, call: Call) -> list[Label]:
    if "job_id" in call.query:
        job = state.jobs.get(_number(call, "job_id"))
        return _of_task(state, call, state.tasks[job.task_id]) if job is not None else _missing("Job")
    if "task_id" in call.query:
        task = state.tasks.get(_number(call, "task_id"))
        return _of_task(state, call, task) if task is not None else _missing("Task")
    if "project_id" in call.query:
        project = state.projects.get(_number(call, "project_id"))
        if project is None:
            return _missing("Project")
        if not access.sees_project(state, call.caller, project):
            raise Refused(403, access.FORBIDDEN)
        return state.labels_of_project(project.id)
    return [label for label in state.labels.values() if _sees(state, call, label)]


def _missing(kind: str) -> list[Label]:
    raise Refused(404, {"detail": f"No {kind} matches the given query."})


def _number(call: Call, name: str) -> int:
    try:
        return int(call.query[name])
    except ValueError:
        raise Refused(400, [f"{name} must be an integer"]) from None


def _of_task(state: State, call: Call, task: Task) -> list[Label]:
    assigned = any(job.assignee_id == call.caller.id for job in state.jobs_of(task.id))
    if not (assigned or access.sees_task(state, call.caller, task)):
        raise Refused(403, access.FORBIDDEN)
    return state.labels_of(task)


def _sees(state: State, call: Call, label: Label) -> bool:
    of = owner(state, label)
    if isinstance(of, Project):
        return access.sees_project(state, call.caller, of)
    return access.sees_task(state, call.caller, of)


def owner(state: State, label: Label) -> Project | Task:
    return state.projects[label.project_id] if label.project_id is not None else state.tasks[label.task_id or 0]


def one(server: Server, call: Call, number: str) -> Answer:
    state = server.state
    label = state.labels.get(int(number))
    if label is None:
        raise Refused(404, {"detail": "No Label matches the given query."})
    if not _sees(state, call, label):
        raise Refused(403, access.FORBIDDEN)
    of = owner(state, label)
    match call.method:
        case "PATCH":
            body = call.json()
            taken = [other.name for other in labels_of_owner(state, of) if other is not label]
            if body.get("name") in taken:
                raise Refused(400, ["All label names must be unique"])
            _check([body | {"id": label.id}])
            _change(state, label, body)
            touch(state, of)
        case "DELETE":
            if label.parent_id is not None:
                raise Refused(400, ["Sublabels cannot be deleted this way. Please send a PATCH request instead."])
            delete(state, label)
            touch(state, of)
            return Answer(204)
    return Answer(200, Render(state, call.base_url, call.caller).label(label))


def touch(state: State, owner: Project | Task) -> None:
    """The labels of a project are those of its tasks and jobs: all their dates move together."""
    owner.updated_date = when = state.now()
    tasks = state.tasks_of(owner.id) if isinstance(owner, Project) else [owner]
    for task in tasks:
        task.updated_date = when
        for job in state.jobs_of(task.id):
            job.updated_date = when
