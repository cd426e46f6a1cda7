"""Tags, shapes and tracks: checked, spread over the jobs of a task, changed and read back.

What is kept in a job is the JSON of a GET, except that attributes are only those that were given: a GET adds the
defaults of the others.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tests.doubles.cvat import merging
from tests.doubles.cvat.state import Attribute, Job, Label, State, Task
from tests.doubles.cvat.wire import SERVER_ERROR_PAGE, Refused

Json = dict[str, Any]
SHAPE_TYPES = ("rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")
_COUNTS = {"rectangle": 4, "ellipse": 4, "cuboid": 16, "skeleton": 0}
_LEAST = {"polygon": 6, "polyline": 4, "points": 2}
_KINDS = ("tags", "shapes", "tracks")
_BASE = {"group": 0, "source": "manual"}
_LOOK = {"occluded": False, "outside": False, "z_order": 0, "rotation": 0.0}


def empty() -> Json:
    return {"version": 0, "tags": [], "shapes": [], "tracks": [], "intervals": []}


def of_job(state: State, job: Job) -> Json:
    """As GET tells it: in the order of frames, with the defaults of attributes that nobody set."""
    labels = _labels_by_id(state, state.tasks[job.task_id])
    found = empty()
    found["tags"] = sorted((_with_defaults(tag, labels) for tag in job.tags), key=_by_frame)
    found["shapes"] = sorted((_with_defaults(shape, labels) for shape in job.shapes), key=_by_frame)
    found["tracks"] = [_track_with_defaults(track, labels) for track in job.tracks]
    return found


def of_task(state: State, task: Task) -> Json:
    """Of all jobs, merged where they overlap; a track that a job leaves open ends where the next one begins."""
    if task.media is None:
        raise Refused(400, b"Exporting annotations from a task without data is not allowed", "text/html; charset=utf-8")
    whole = empty()
    for job in state.jobs_of(task.id):
        part = of_job(state, job)
        merging.merge(whole, part, job.start_frame, task.overlap or 0)
    return whole


def _by_frame(thing: Json) -> tuple[int, int]:
    return thing["frame"], thing["id"]


def _with_defaults(thing: Json, labels: Mapping[int, Label]) -> Json:
    made = copy.deepcopy(thing)
    for part in (made, *made.get("elements", [])):
        part["attributes"] = _extended(part["attributes"], labels[part["label_id"]].attributes)
    return made


def _track_with_defaults(track: Json, labels: Mapping[int, Label]) -> Json:
    made = copy.deepcopy(track)
    for part in (made, *made.get("elements", [])):
        attributes = labels[part["label_id"]].attributes
        part["attributes"] = _extended(part["attributes"], [one for one in attributes if not one.mutable])
        before = [_default(one) for one in attributes if one.mutable]
        for shape in part["shapes"]:
            given = {value["spec_id"] for value in shape["attributes"]}
            shape["attributes"] += [dict(value) for value in before if value["spec_id"] not in given]
            before = shape["attributes"]
    return made


def _extended(given: Sequence[Json], attributes: Sequence[Attribute]) -> list[Json]:
    ids = {value["spec_id"] for value in given}
    return [*given, *(_default(attribute) for attribute in attributes if attribute.id not in ids)]


def _default(attribute: Attribute) -> Json:
    return {"spec_id": attribute.id, "value": attribute.default_value}


def put(state: State, task: Task, data: Json) -> Json:
    """Replace all annotations of a task; answers what was made."""
    return _on_task(state, task, data, put_job)


def append(state: State, task: Task, data: Json) -> Json:
    return _on_task(state, task, data, append_job)


def update(state: State, task: Task, data: Json) -> Json:
    return _on_task(state, task, data, update_job)


def delete(state: State, task: Task, data: Json) -> Json:
    return _on_task(state, task, data, delete_job)


def _on_task(state: State, task: Task, data: Json, change: Any) -> Json:
    """Each job gets what lies on its frames; what lies on no frame is dropped without a word."""
    if task.media is None:
        raise Refused(500, SERVER_ERROR_PAGE, "text/html; charset=utf-8")
    checked = check(data)
    done = empty()
    for job in state.jobs_of(task.id):
        part = change(state, job, _slice(checked, job))
        for kind in _KINDS:
            done[kind] += part[kind]
    return done


def put_job(state: State, job: Job, data: Json) -> Json:
    had_any = bool(job.tags or job.shapes or job.tracks)
    made = _made(state, job, data)
    job.tags, job.shapes, job.tracks = (copy.deepcopy(made[kind]) for kind in _KINDS)
    if had_any or _any(made):
        state.annotations_changed(job)
    return made


def append_job(state: State, job: Job, data: Json) -> Json:
    made = _made(state, job, data)
    _keep(job, made)
    if _any(made):
        state.annotations_changed(job)
    return made


def update_job(state: State, job: Job, data: Json) -> Json:
    """The things of those ids as they are sent now; they keep their ids."""
    _forget(job, data)
    made = _made(state, job, data, keep_ids=True)
    _keep(job, made)
    if _any(made):
        state.annotations_changed(job)
    return made


def delete_job(state: State, job: Job, data: Json) -> Json:
    _forget(job, data)
    if _any(data):
        state.annotations_changed(job)
    return empty() | {kind: data.get(kind, []) for kind in _KINDS}


def clear(state: State, jobs: Iterable[Job]) -> None:
    for job in jobs:
        if job.tags or job.shapes or job.tracks:
            job.tags, job.shapes, job.tracks = [], [], []
            state.annotations_changed(job)


def _any(data: Json) -> bool:
    return any(data.get(kind) for kind in _KINDS)


def _keep(job: Job, made: Json) -> None:
    job.tags += copy.deepcopy(made["tags"])
    job.shapes += copy.deepcopy(made["shapes"])
    job.tracks += copy.deepcopy(made["tracks"])


def _forget(job: Job, data: Json) -> None:
    gone = {kind: {thing.get("id") for thing in data.get(kind, [])} for kind in _KINDS}
    job.tags = [tag for tag in job.tags if tag["id"] not in gone["tags"]]
    job.shapes = [shape for shape in job.shapes if shape["id"] not in gone["shapes"]]
    job.tracks = [track for track in job.tracks if track["id"] not in gone["tracks"]]


def forget_labels(state: State, label_ids: Collection[int]) -> None:
    """What was drawn with a label goes with it."""
    for job in state.jobs.values():
        job.tags = [tag for tag in job.tags if tag["label_id"] not in label_ids]
        job.shapes = [shape for shape in job.shapes if shape["label_id"] not in label_ids]
        job.tracks = [track for track in job.tracks if track["label_id"] not in label_ids]


def _labels_by_id(state: State, task: Task) -> dict[int, Label]:
    labels = state.labels_of(task)
    return {label.id: label for parent in labels for label in (parent, *parent.sublabels)}


def check(data: Json) -> Json:
    """The body with every list there, or Refused with the server's words."""
    problems: Json = {}
    for kind in _KINDS:
        found = [_problem(kind, thing) for thing in data.get(kind) or []]
        if any(found):
            problems[kind] = found
    if problems:
        raise Refused(400, problems)
    return {kind: list(data.get(kind) or []) for kind in _KINDS}


def _problem(kind: str, thing: Json) -> Json:
    needed = {"tags": ("frame", "label_id"), "shapes": ("frame", "label_id", "type")}
    missing = [name for name in needed.get(kind, ("frame", "label_id", "shapes")) if thing.get(name) is None]
    if missing:
        return {name: ["This field is required."] for name in missing}
    if kind == "shapes":
        return _shape_problem(thing)
    found = [_shape_problem(shape) for shape in thing.get("shapes", [])]
    return {"shapes": found} if any(found) else {}


def _shape_problem(shape: Json) -> Json:
    if shape["type"] not in SHAPE_TYPES:
        return {"type": [f'"{shape["type"]}" is not a valid choice.']}
    if not 0 <= shape.get("rotation", 0) <= 360:
        limit = "less than or equal to 360" if shape["rotation"] > 360 else "greater than or equal to 0"
        return {"rotation": [f"Ensure this value is {limit}."]}
    if not _length_fits(shape["type"], shape.get("points", [])):
        return {"points": [f"invalid length for shape type '{shape['type']}'"]}
    found = [_shape_problem(element) for element in shape.get("elements", [])]
    return {"elements": found} if any(found) else {}


def _length_fits(kind: str, points: Sequence[float]) -> bool:
    if kind == "mask":
        return len(points) >= 5
    if kind in _COUNTS:
        return len(points) == _COUNTS[kind]
    return len(points) >= _LEAST[kind] and len(points) % 2 == 0


def _made(state: State, job: Job, data: Json, *, keep_ids: bool = False) -> Json:
    """The things as the server stores them, with new ids: a parent before its elements."""
    labels = _labels_by_id(state, state.tasks[job.task_id])
    made = empty()
    for tag in data["tags"]:
        _check_label(tag, labels, "all")
        made["tags"].append(_thing(state, "tags", tag, keep_ids) | {"attributes": _attributes(tag)})
    made["shapes"] = [_shape(state, shape, labels, keep_ids) for shape in data["shapes"]]
    for shape, sent in zip(made["shapes"], data["shapes"], strict=True):
        shape["elements"] = [_shape(state, element, labels, False) for element in sent.get("elements", [])]
    made["tracks"] = [_track(state, track, labels, keep_ids) for track in data["tracks"] if track["shapes"]]
    for track in made["tracks"]:
        track["elements"] = [_track(state, element, labels, False) for element in track.pop("sent_elements")]
        for element in track["elements"]:
            del element["sent_elements"]
    return made


def _thing(state: State, table: str, sent: Json, keep_id: bool) -> Json:
    known = keep_id and sent.get("id") is not None
    made = {"id": sent["id"] if known else state.next_id(table)}
    made |= {"label_id": sent["label_id"], "frame": sent["frame"]}
    return made | {name: sent[name] if sent.get(name) is not None else default for name, default in _BASE.items()}


def _shape(state: State, sent: Json, labels: Mapping[int, Label], keep_id: bool) -> Json:
    _check_label(sent, labels, "all")
    points = [float(value) for value in sent.get("points", [])]
    made = _thing(state, "shapes", sent, keep_id) | {"type": sent["type"], "score": sent.get("score", 1.0)}
    made |= {name: sent.get(name, default) for name, default in _LOOK.items()}
    return made | {"points": points, "attributes": _attributes(sent)}


def _track(state: State, sent: Json, labels: Mapping[int, Label], keep_id: bool) -> Json:
    _check_label(sent, labels, "immutable")
    made = _thing(state, "tracks", sent, keep_id) | {"attributes": _attributes(sent)}
    made["shapes"] = []
    for shape in sorted(sent["shapes"], key=lambda shape: shape["frame"]):
        _check_attributes(shape, labels[sent["label_id"]], "mutable")
        look = {name: shape.get(name, default) for name, default in _LOOK.items()}
        points = [float(value) for value in shape.get("points", [])]
        made["shapes"].append(
            {"id": state.next_id("tracked_shapes"), "type": shape["type"], "frame": shape["frame"], **look}
            | {"points": points, "attributes": _attributes(shape)}
        )
    _start_together(state, made)
    return made | {"sent_elements": sent.get("elements", [])}


def _start_together(state: State, track: Json) -> None:
    """A track and its first shape have the same frame: an outside copy fills the gap before, or the track moves."""
    first = track["shapes"][0]
    if first["frame"] < track["frame"]:
        track["frame"] = first["frame"]
    elif first["frame"] > track["frame"] and first["type"] == "skeleton":
        first["frame"] = track["frame"]
    elif first["frame"] > track["frame"]:
        missing = copy.deepcopy(first) | {"frame": track["frame"], "outside": True}
        track["shapes"].insert(0, missing | {"id": state.next_id("tracked_shapes")})


def _attributes(sent: Json) -> list[Json]:
    given = sent.get("attributes") or []
    return [{"spec_id": value["spec_id"], "value": str(value["value"])} for value in given]


def _check_label(sent: Json, labels: Mapping[int, Label], which: str) -> None:
    if sent["label_id"] not in labels:
        raise Refused(400, [f"label_id `{sent['label_id']}` is invalid"])
    _check_attributes(sent, labels[sent["label_id"]], which)


def _check_attributes(sent: Json, label: Label, which: str) -> None:
    allowed = {one.id for one in label.attributes if which == "all" or one.mutable == (which == "mutable")}
    for value in sent.get("attributes") or []:
        if value["spec_id"] not in allowed:
            raise Refused(400, [f"spec_id `{value['spec_id']}` is invalid"])


def _slice(data: Json, job: Job) -> Json:
    first, last = job.start_frame, job.stop_frame
    part: Json = {kind: [thing for thing in data[kind] if first <= thing["frame"] <= last] for kind in _KINDS[:2]}
    tracks = (_track_slice(track, first, last) for track in data["tracks"])
    return part | {"tracks": [track for track in tracks if track is not None]}


def _track_slice(track: Json, first: int, last: int) -> Json | None:
    """The part of a track on the frames of a job, with shapes of its own where it enters and leaves them."""
    shapes = sorted(track["shapes"], key=lambda shape: shape["frame"])
    inside = [shape for shape in shapes if first <= shape["frame"] <= last]
    before = [shape for shape in shapes if shape["frame"] < first]
    after = [shape for shape in shapes if shape["frame"] > last]
    if before and not before[-1].get("outside") and (not inside or inside[0]["frame"] > first):
        inside.insert(0, _between(before[-1], next(iter([*inside, *after]), None), first))
    while len(inside) > 1 and inside[0].get("outside"):
        inside.pop(0)
    if not inside or (len(inside) == 1 and inside[0].get("outside") and before):
        return None
    if after and not inside[-1].get("outside"):
        leaving = _between(inside[-1], after[0], last)
        if leaving["points"] != inside[-1]["points"]:
            inside.append(leaving)
        elif after[0]["frame"] == last + 1 and after[0].get("outside"):
            inside.append(after[0])
    elements = [_track_slice(element, first, last) for element in track.get("elements", [])]
    made = {**track, "shapes": inside, "frame": inside[0]["frame"]}
    return made | {"elements": [element for element in elements if element is not None]}


def _between(before: Json, after: Json | None, frame: int) -> Json:
    """Where the shape is on a frame between two of its keyframes."""
    made = {key: value for key, value in before.items() if key != "id"} | {"frame": frame}
    if after is None or len(after["points"]) != len(before["points"]) or before["type"] == "mask":
        return made
    if frame == before["frame"]:
        return before
    share = (frame - before["frame"]) / (after["frame"] - before["frame"])
    pairs = zip(before["points"], after["points"], strict=True)
    return made | {"points": [start + share * (end - start) for start, end in pairs]}
