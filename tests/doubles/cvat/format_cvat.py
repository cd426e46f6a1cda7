"""CVAT's own XML: "CVAT for images 1.1" and "CVAT for video 1.1"."""

from __future__ import annotations

import re
from datetime import datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from tests.doubles.cvat import dataset, tracks
from tests.doubles.cvat.dataset import Item, Labels
from tests.doubles.cvat.state import Job, Json, Label, Project, State, Task

TAGS = {"rectangle": "box"}
CUBOID = [f"{axis}{side}{plane}" for plane in "12" for side in ("tl", "bl", "tr", "br") for axis in "xy"]


def images_xml(state: State, target: Project | Task | Job) -> bytes:
    labels = dataset.labels_of(state, target)
    root = _root(state, target, labels)
    for item in dataset.items(state, target):
        place = {"id": str(item.number), "name": item.name}
        if isinstance(target, Project):
            place |= {"subset": item.subset, "task_id": str(item.task.id)}
        image = SubElement(root, "image", place | {"width": str(item.size_wh[0]), "height": str(item.size_wh[1])})
        for shape in item.shapes:
            _image_shape(image, shape, labels)
        for tag in item.tags:
            element = SubElement(image, "tag", _head(tag, labels) | _group(tag))
            _attributes(element, tag, labels)
    return _written(root)


def _head(annotation: Json, labels: Labels) -> dict[str, str]:
    return {"label": labels.by_id(annotation["label_id"]).name, "source": annotation["source"]}


def _group(annotation: Json) -> dict[str, str]:
    return {"group_id": str(annotation["group"])} if annotation.get("group") else {}


def _image_shape(parent: Element, shape: Json, labels: Labels, *, of_skeleton: bool = False) -> None:
    fields = _head(shape, labels)
    if of_skeleton:
        fields["outside"] = str(int(shape["outside"]))
    if shape["type"] != "skeleton":
        fields["occluded"] = str(int(shape["occluded"]))
    fields |= _geometry(shape)
    if not of_skeleton:
        fields["z_order"] = str(shape["z_order"])
    element = SubElement(parent, TAGS.get(shape["type"], shape["type"]), fields | _group(shape))
    for part in shape.get("elements", []):
        _image_shape(element, part, labels, of_skeleton=True)
    _attributes(element, shape, labels)


def _geometry(shape: Json) -> dict[str, str]:
    points = shape["points"]
    match shape["type"]:
        case "rectangle":
            fields = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(_number, points), strict=True))
        case "ellipse":
            sizes = (points[0], points[1], points[2] - points[0], points[1] - points[3])
            fields = dict(zip(("cx", "cy", "rx", "ry"), map(_number, sizes), strict=True))
        case "cuboid":
            return dict(zip(CUBOID, map(_number, points), strict=True))
        case "mask":
            return _mask_geometry(points)
        case "skeleton":
            return {}
        case _:
            pairs = zip(points[::2], points[1::2], strict=True)
            return {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs)}
    if shape.get("rotation"):
        fields["rotation"] = _number(shape["rotation"])
    return fields


def _number(value: float) -> str:
    return f"{value:.2f}"


def _mask_geometry(points: list[float]) -> dict[str, str]:
    left, top, right, bottom = (int(value) for value in points[-4:])
    return {
        "rle": ", ".join(str(int(run)) for run in points[:-4]),
        "left": str(left),
        "top": str(top),
        "width": str(right - left + 1),
        "height": str(bottom - top + 1),
    }


def _attributes(element: Element, annotation: Json, labels: Labels) -> None:
    for name, value in labels.values(annotation).items():
        SubElement(element, "attribute", {"name": name}).text = str(value)


def video_xml(state: State, target: Project | Task | Job) -> bytes:
    """Tracks with every frame; a shape becomes a track of one frame, closed on the next."""
    labels = dataset.labels_of(state, target)
    root = _root(state, target, labels)
    number = 0
    for closing in (False, True):
        for task in dataset.tasks_of(state, target):
            data = dataset.annotations_of(state, target, task)
            for track in _shape_tracks(task, data["shapes"]) if closing else data["tracks"]:
                _track(root, number, track, task, target, labels)
                number += 1
    return _written(root)


def _shape_tracks(task: Task, shapes: list[Json]) -> list[Json]:
    assert task.media is not None
    step, stop = dataset.step_of(task), task.media.stop_frame

    def keyframes(shape: Json) -> list[Json]:
        number = task.media.start_frame + shape["frame"] * step if task.media else 0
        own = {**shape, "attributes": shape.get("attributes", [])}
        ends = [{**own, "frame": shape["frame"] + 1, "outside": True}] if number + step < stop else []
        return [{**own, "outside": shape.get("outside", False)}, *ends]

    return [
        {
            **shape,
            "attributes": [],
            "single": True,
            "shapes": keyframes(shape),
            "elements": [{**part, "attributes": [], "shapes": keyframes(part)} for part in shape.get("elements", [])],
        }
        for shape in sorted(shapes, key=lambda shape: shape["frame"])
    ]


def _track(root: Element, number: int, track: Json, task: Task, target: Project | Task | Job, labels: Labels) -> None:
    assert task.media is not None
    fields = {"id": str(number), **_head(track, labels)}
    if isinstance(target, Project):
        fields |= {"task_id": str(task.id), "subset": dataset.default_subset(task)}
    element = SubElement(root, "track", fields | _group(track))
    size = len(task.media.frames)
    parts = [(part["label_id"], _seen(part, size, single="single" in track)) for part in track.get("elements", [])]
    for shape in _seen(track, size, single="single" in track):
        if shape["frame"] in task.media.deleted_frames:
            continue
        frame = task.media.start_frame + shape["frame"] * dataset.step_of(task)
        found = [(label, part) for label, shapes in parts for part in shapes if part["frame"] == shape["frame"]]
        if shape["type"] == "skeleton" and not found:
            continue
        drawn = _tracked(element, {"frame": str(frame)}, shape, labels)
        for label, part in found:
            _tracked(drawn, {"label": labels.by_id(label).name}, part, labels)


def _seen(track: Json, size: int, *, single: bool) -> list[Json]:
    """Every frame on which the track is seen, and the frames on which it ends."""
    if single:
        return [{**shape, "keyframe": True} for shape in track["shapes"]]
    shapes = tracks.laid_out(track, size, include_outside=True)
    return [shape for shape in shapes if shape["keyframe"] or not shape["outside"]]


def _tracked(parent: Element, place: dict[str, str], shape: Json, labels: Labels) -> Element:
    fields = {**place, "keyframe": str(int(shape["keyframe"]))}
    if shape["type"] != "skeleton":
        fields |= {"outside": str(int(shape["outside"])), "occluded": str(int(shape["occluded"]))}
    fields |= _geometry(shape)
    if "frame" in place:
        fields["z_order"] = str(shape["z_order"])
    element = SubElement(parent, TAGS.get(shape["type"], shape["type"]), fields)
    _attributes(element, shape, labels)
    return element


def _root(state: State, target: Project | Task | Job, labels: Labels) -> Element:
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    meta = SubElement(root, "meta")
    match target:
        case Project():
            described = SubElement(meta, "project")
            _project_meta(described, state, target)
        case Task():
            described = SubElement(meta, "task")
            _task_meta(described, state, target, state.jobs_of(target.id), target.id, target.name)
        case Job():
            described = SubElement(meta, "job")
            _task_meta(described, state, state.tasks[target.task_id], [target], target.id, None)
    _labels_meta(described, labels)
    task = dataset.tasks_of(state, target)[0] if not isinstance(target, Project) else None
    if task is not None and task.media is not None and task.media.mode == "interpolation":
        size = SubElement(described, "original_size")
        _text(size, width=str(task.media.frames[0].width), height=str(task.media.frames[0].height))
    _text(meta, dumped=_date(state.now()))
    if task is not None and task.media is not None and task.media.mode == "interpolation":
        _text(meta, source=task.media.frames[0].name)
    return root


def _project_meta(element: Element, state: State, project: Project) -> None:
    _text(element, id=str(project.id), name=project.name, bugtracker=project.bug_tracker)
    _text(element, created=_date(project.created_date), updated=_date(project.updated_date))
    listed = SubElement(element, "tasks")
    tasks = dataset.tasks_of(state, project)
    for task in tasks:
        _task_meta(SubElement(listed, "task"), state, task, state.jobs_of(task.id), task.id, task.name)
    _text(element, subsets="\n".join(dict.fromkeys(dataset.default_subset(task) for task in tasks)))
    _people(element, state, project.owner_id, project.assignee_id)


def _task_meta(element: Element, state: State, task: Task, jobs: list[Job], target_id: int, name: str | None) -> None:
    assert task.media is not None
    of_job = name is None
    frames = range(jobs[0].start_frame, jobs[0].stop_frame + 1) if of_job else range(len(task.media.frames))
    step, start = dataset.step_of(task), task.media.start_frame
    _text(element, id=str(target_id), **({} if name is None else {"name": name}))
    _text(element, size=str(len(frames)), mode=task.media.mode, overlap=str(task.overlap))
    _text(element, bugtracker=task.bug_tracker, created=_date(task.created_date))
    _text(element, updated=_date(jobs[0].updated_date if of_job else task.updated_date))
    _text(element, subset=dataset.default_subset(task), start_frame=str(start + frames[0] * step))
    _text(element, stop_frame=str(start + frames[-1] * step), frame_filter=task.media.frame_filter)
    segments = SubElement(element, "segments")
    for job in jobs:
        segment = SubElement(segments, "segment")
        _text(segment, id=str(job.id), start=str(job.start_frame), stop=str(job.stop_frame))
        _text(segment, url=f"/api/jobs/{job.id}")
    _people(element, state, task.owner_id, jobs[0].assignee_id if of_job else task.assignee_id)


def _people(element: Element, state: State, owner_id: int | None, assignee_id: int | None) -> None:
    for role, user_id in (("owner", owner_id), ("assignee", assignee_id)):
        person = SubElement(element, role)
        if user_id is not None:
            _text(person, username=state.users[user_id].username, email=state.users[user_id].email)


def _labels_meta(element: Element, labels: Labels) -> None:
    listed = SubElement(element, "labels")
    for label in labels.every:
        entry = SubElement(listed, "label")
        _text(entry, name=label.name, color=label.color, type=label.type)
        attributes = SubElement(entry, "attributes")
        for attribute in label.attributes:
            described = SubElement(attributes, "attribute")
            _text(described, name=attribute.name, mutable=str(attribute.mutable), input_type=attribute.input_type)
            _text(described, default_value=attribute.default_value, values="\n".join(attribute.values))
        if label.type == "skeleton":
            _text(entry, svg=svg_with_names(label))
        if (parent := labels.parent(label)) is not None:
            _text(entry, parent=parent.name)


def svg_with_names(label: Label) -> str:
    """The drawing of a skeleton with its points called by name: ids are the server's own."""
    names = {str(point.id): point.name for point in label.sublabels}
    return re.sub(
        r'data-label-id="(\d+)"',
        lambda found: f'data-label-name="{names.get(found.group(1), "")}"',
        label.svg or "",
    )


def _text(element: Element, **texts: str) -> None:
    for name, text in texts.items():
        SubElement(element, name).text = text


def _date(when: datetime) -> str:
    return str(when)


def _written(root: Element) -> bytes:
    ElementTree.indent(root)
    declaration = b'<?xml version="1.0" encoding="utf-8"?>\n'
    return declaration + ElementTree.tostring(root, encoding="utf-8", short_empty_elements=False) + b"\n"


def media_path(item: Item, target: Project | Task | Job) -> str:
    """Where the archive holds the image of a frame."""
    suffix = ".PNG" if item.task.media is not None and item.task.media.mode == "interpolation" else ""
    folder = f"images/{item.subset}" if isinstance(target, Project) else "images"
    return f"{folder}/{item.name}{suffix}"
