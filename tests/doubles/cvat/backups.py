"""Backups: `task.json`, `annotations.json`, `data/` of a task; a project holds its tasks in `task_0/`, `task_1/` …"""

from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import PurePosixPath
from typing import Literal

from tests.doubles.cvat import annotations, format_cvat, label_maps, pictures
from tests.doubles.cvat.state import Attribute, Failed, Json, Label, Project, State, Task
from tests.doubles.cvat.unpacking import Wanted, unpack


def make_backup(state: State, target: Project | Task) -> bytes:
    with state.lock:
        files = _project_files(state, target) if isinstance(target, Project) else _task_files(state, target)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def _packed(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _project_files(state: State, project: Project) -> dict[str, bytes]:
    labels = [_label(label) for label in state.labels_of_project(project.id)]
    about = {"name": project.name, "bug_tracker": project.bug_tracker, "status": project.status, "labels": labels}
    files = {"project.json": _packed({**about, "version": "1.0"})}
    tasks = sorted((task for task in state.tasks_of(project.id) if task.media), key=lambda task: task.id)
    for number, task in enumerate(tasks):
        files |= {f"task_{number}/{name}": data for name, data in _task_files(state, task).items()}
    return files


def _task_files(state: State, task: Task) -> dict[str, bytes]:
    if task.media is None:
        raise Failed("rest_framework.exceptions.ValidationError: Backup of a task without data is not allowed\n")
    media, jobs = task.media, state.jobs_of(task.id)
    data = {
        "chunk_size": media.chunk_size,
        "image_quality": media.image_quality,
        "start_frame": media.start_frame,
        "stop_frame": media.stop_frame,
        **({"frame_filter": media.frame_filter} if media.frame_filter else {}),
        "storage_method": media.storage_method,
        "sorting_method": media.sorting_method,
        "chunk_type": media.chunk_type,
        "deleted_frames": sorted(media.deleted_frames),
        "storage": media.storage,
    }
    about = {
        "name": task.name,
        "bug_tracker": task.bug_tracker,
        "status": task.status,
        "subset": task.subset,
        "labels": [_label(label) for label in state.labels_of(task)],
        "version": "1.0",
        "data": data,
        "jobs": [
            {"status": job.status, "type": job.type, "start_frame": job.start_frame, "stop_frame": job.stop_frame}
            for job in jobs
        ],
    }
    names = label_maps.Names.of(state, task)
    told = [names.without_ids(annotations.of_job(state, job)) for job in jobs]
    files = {"task.json": _packed(about), "annotations.json": _packed(told)}
    if media.source_files:
        return files | {f"data/{name}": content for name, content in media.source_files.items()}
    files |= {f"data/{frame.name}": frame.original for frame in media.frames}
    return files | {"data/manifest.jsonl": _manifest(task)}


def _manifest(task: Task) -> bytes:
    assert task.media is not None
    rows: list[Json] = [{"version": "1.1"}, {"type": "images"}]
    for frame in task.media.frames:
        path = PurePosixPath(frame.name)
        width, height = pictures.upright_size(frame.original)
        rows.append({"name": str(path.with_suffix("")), "extension": path.suffix, "width": width, "height": height})
    return b"".join(_packed(row) + b"\n" for row in rows)


def _label(label: Label) -> Json:
    attributes = [
        {key: getattr(attribute, key) for key in ("name", "mutable", "input_type", "default_value", "values")}
        for attribute in label.attributes
    ]
    found = {"name": label.name, "color": label.color, "attributes": attributes, "type": label.type}
    if label.parent_id is None:
        found["sublabels"] = [_label(point) for point in label.sublabels]
    if label.type == "skeleton":
        found["svg"] = format_cvat.svg_with_names(label)
    return found


def import_backup(
    state: State,
    kind: Literal["project", "task"],
    content: bytes,
    *,
    owner_id: int,
    organization_id: int | None,
) -> int:
    """The id of the new project or task. Raises Failed: no backup, or one of the other kind."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    except zipfile.BadZipFile as error:
        raise Failed(f"zipfile.BadZipFile: {error}\n") from None
    if f"{kind}.json" not in files:
        raise Failed(f"KeyError: \"There is no item named '{kind}.json' in the archive\"\n")
    with state.lock:
        if kind == "task":
            return _restore_task(state, files, None, owner_id, organization_id)
        return _restore_project(state, files, owner_id, organization_id)


def _restore_project(state: State, files: dict[str, bytes], owner_id: int, organization_id: int | None) -> int:
    about, now = json.loads(files["project.json"]), state.now()
    project = Project(state.next_id("projects"), about["name"], owner_id, now, now, organization_id)
    project.bug_tracker = about.get("bug_tracker", "")
    state.projects[project.id] = project
    for label in about["labels"]:
        _make_label(state, label, project_id=project.id)
    folders = sorted({name.split("/")[0] for name in files if "/" in name}, key=lambda name: (len(name), name))
    for folder in folders:
        own = {name[len(folder) + 1 :]: data for name, data in files.items() if name.startswith(f"{folder}/")}
        _restore_task(state, own, project.id, owner_id, organization_id)
    return project.id


def _restore_task(
    state: State, files: dict[str, bytes], project_id: int | None, owner_id: int, organization_id: int | None
) -> int:
    about, now = json.loads(files["task.json"]), state.now()
    task = Task(state.next_id("tasks"), about["name"], owner_id, now, now, project_id, organization_id)
    task.bug_tracker, task.subset = about.get("bug_tracker", ""), about.get("subset", "")
    task.status = about.get("status", "annotation")
    state.tasks[task.id] = task
    if project_id is None:
        for label in about["labels"]:
            _make_label(state, label, task_id=task.id)
    _restore_media(state, task, about, files)
    names = label_maps.Names.of(state, task)
    told = json.loads(files["annotations.json"])
    for job, data in zip(state.jobs_of(task.id), told, strict=False):
        annotations.put_job(state, job, names.with_ids(copy.deepcopy(data)))
    return task.id


def _restore_media(state: State, task: Task, about: Json, files: dict[str, bytes]) -> None:
    data, jobs = about["data"], about["jobs"]
    listed = {name.removeprefix("data/"): content for name, content in files.items() if name.startswith("data/")}
    ordered = [json.loads(row) for row in listed.pop("manifest.jsonl", b"").splitlines()[2:]]
    names = [f"{row['name']}{row['extension']}" for row in ordered] or list(listed)
    task.uploads = [(name, listed[name]) for name in names]
    # Frames that a filter left out are not in the backup: the filter has already been at work.
    wanted = Wanted(
        image_quality=data["image_quality"],
        chunk_size=data["chunk_size"],
        sorting_method="predefined",
        upload_file_order=tuple(names),
        use_zip_chunks=data["chunk_type"] == "imageset",
        frame_filter=data.get("frame_filter", "") if not ordered else "",
        start_frame=data["start_frame"] if not ordered else 0,
        stop_frame=data["stop_frame"] if not ordered else None,
    )
    task.media = unpack(state, task, wanted)
    task.uploads.clear()
    task.media.sorting_method, task.media.storage_method = data["sorting_method"], data["storage_method"]
    task.media.start_frame, task.media.stop_frame = data["start_frame"], data["stop_frame"]
    task.media.frame_filter = data.get("frame_filter", "")
    task.media.deleted_frames = set(data["deleted_frames"])
    annotation_jobs = [job for job in jobs if job["type"] == "annotation"]
    task.segment_size = annotation_jobs[0]["stop_frame"] - annotation_jobs[0]["start_frame"] + 1
    if len(annotation_jobs) > 1:
        task.overlap = annotation_jobs[0]["stop_frame"] + 1 - annotation_jobs[1]["start_frame"]
    state.make_jobs(task)


def _make_label(
    state: State, about: Json, *, project_id: int | None = None, task_id: int | None = None, parent: Label | None = None
) -> Label:
    label = Label(state.next_id("labels"), about["name"], about["color"], about["type"])
    label.project_id, label.task_id = project_id, task_id
    label.parent_id = parent.id if parent else None
    label.attributes = [
        Attribute(state.next_id("attributes"), **{key: one[key] for key in _ATTRIBUTE}) for one in about["attributes"]
    ]
    state.labels[label.id] = label
    for point in about.get("sublabels", []):
        label.sublabels.append(_make_label(state, point, project_id=project_id, task_id=task_id, parent=label))
    if "svg" in about:
        ids = {point.name: point.id for point in label.sublabels}
        label.svg = label_maps.svg_with_ids(about["svg"], ids)
    return label


_ATTRIBUTE = ("name", "mutable", "input_type", "default_value", "values")
