"""The project that a real CVAT 2.73 was recorded with, built anew in the state of the server double.

Two tasks: `t-train` (five images, two jobs, a shape of each kind) and `t-val` (two images). tests/doubles/golden/ has
the labels, the annotations as GET told them, and the archives that the server made of them.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.doubles.cvat import annotations
from tests.doubles.cvat.state import Attribute, Frame, Label, Media, Project, State, Task, User

GOLDEN = Path(__file__).parents[1] / "doubles" / "golden"


def recorded() -> dict[str, Any]:
    """Keys: labels, frames, train, val, train_after_cvat_import, train_after_coco_import."""
    return dict(json.loads((GOLDEN / "recorded_task.json").read_text()))


def golden_archive(name: str) -> dict[str, bytes]:
    return unzipped((GOLDEN / f"{name}.zip").read_bytes())


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def make_state(*, without_labels: tuple[str, ...] = ()) -> State:
    state = State()
    state.users[1] = User(1, "admin", "secret", email="admin@localhost.local")
    now = state.now()
    project = Project(state.next_id("projects"), "contract-facts", 1, now, now)
    state.projects[project.id] = project
    for told in recorded()["labels"]:
        if told["name"] not in without_labels:
            add_label(state, told, project_id=project.id)
    # The labels came with their ids: new ones go on behind them.
    while state.next_id("labels") < max(state.labels):
        state.next_id("attributes")
    frames = recorded()["frames"]
    add_task(state, "t-train", "train", frames, project_id=project.id, segment_size=3)
    add_task(state, "t-val", "val", frames[:2], project_id=project.id)
    return state


def make_annotated_state() -> State:
    state = make_state()
    annotations.put(state, state.tasks[1], recorded()["train"])
    annotations.put(state, state.tasks[2], recorded()["val"])
    return state


def add_label(state: State, told: dict[str, Any], *, project_id: int, parent: Label | None = None) -> Label:
    label = Label(told["id"], told["name"], told["color"], told["type"], project_id=project_id, svg=told.get("svg"))
    label.attributes = [Attribute(**attribute) for attribute in told["attributes"]]
    label.parent_id = parent.id if parent else None
    state.labels[label.id] = label
    label.sublabels = [
        add_label(state, point, project_id=project_id, parent=label) for point in told.get("sublabels", [])
    ]
    return label


def add_task(
    state: State,
    name: str,
    subset: str,
    frames: list[dict[str, Any]],
    *,
    project_id: int | None = None,
    segment_size: int = 0,
) -> Task:
    now = state.now()
    task = Task(state.next_id("tasks"), name, 1, now, now, project_id, subset=subset, segment_size=segment_size)
    pictures = [Frame(one["name"], one["width"], one["height"], *_picture(one)) for one in frames]
    task.media = Media(state.next_id("data"), pictures, stop_frame=len(frames) - 1, sorting_method="natural")
    state.tasks[task.id] = task
    state.make_jobs(task)
    return task


def _picture(told: dict[str, Any]) -> tuple[bytes, bytes]:
    target = io.BytesIO()
    Image.new("RGB", (told["width"], told["height"]), (90, 120, 150)).save(target, format="JPEG")
    return target.getvalue(), target.getvalue()
