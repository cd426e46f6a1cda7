"""What is exported of a project, task or job: frames with shapes and tags, tracks laid out over the frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.doubles.cvat import annotations, pictures, tracks
from tests.doubles.cvat.state import Frame, Job, Json, Label, Project, State, Task
from tests.doubles.cvat.unpacking import Wanted


@dataclass(frozen=True)
class Item:
    """One frame of the export. `number` is the frame in the source, `frame` the one of the task."""

    task: Task
    frame: int
    number: int
    name: str
    subset: str
    picture: Frame
    shapes: list[Json] = field(default_factory=list)
    """By z-order; those of tracks have `track_id` and `keyframe`."""
    tags: list[Json] = field(default_factory=list)

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.picture.width, self.picture.height

    def content(self) -> bytes:
        return pictures.served_original(self.picture.original)


@dataclass(frozen=True)
class Labels:
    """The label definitions of an export, every skeleton followed by its points."""

    every: list[Label]

    @property
    def top(self) -> list[Label]:
        return [label for label in self.every if label.parent_id is None]

    def by_id(self, label_id: int) -> Label:
        return next(label for label in self.every if label.id == label_id)

    def index(self, label_id: int) -> int:
        return next(number for number, label in enumerate(self.every) if label.id == label_id)

    def parent(self, label: Label) -> Label | None:
        return None if label.parent_id is None else self.by_id(label.parent_id)

    def values(self, annotation: Json) -> dict[str, str]:
        """Attribute values by name, in the order of the annotation."""
        known = {attribute.id: attribute.name for label in self.every for attribute in label.attributes}
        return {known[value["spec_id"]]: value["value"] for value in annotation.get("attributes", [])}


def tasks_of(state: State, target: Project | Task | Job) -> list[Task]:
    """With media, by subset and id."""
    match target:
        case Project():
            tasks = (task for task in state.tasks_of(target.id) if task.media)
            return sorted(tasks, key=lambda task: (task.subset, task.id))
        case Task():
            return [target]
        case Job():
            return [state.tasks[target.task_id]]


def labels_of(state: State, target: Project | Task | Job) -> Labels:
    if isinstance(target, Project):
        top = state.labels_of_project(target.id)
    else:
        top = state.labels_of(tasks_of(state, target)[0])
    return Labels([label for parent in top for label in (parent, *parent.sublabels)])


def step_of(task: Task) -> int:
    assert task.media is not None
    return Wanted(0, frame_filter=task.media.frame_filter).step


def frame_range(state: State, target: Project | Task | Job, task: Task) -> range:
    assert task.media is not None
    if isinstance(target, Job):
        return range(target.start_frame, target.stop_frame + 1)
    return range(len(task.media.frames))


def default_subset(task: Task) -> str:
    return task.subset or "default"


def items(state: State, target: Project | Task | Job) -> list[Item]:
    """Without deleted frames. In a project, equal names within a subset get a number behind them."""
    names: Counter[tuple[str, str]] = Counter()
    found = []
    for task in tasks_of(state, target):
        found.extend(_items_of_task(state, target, task, names if isinstance(target, Project) else Counter()))
    return found


def _items_of_task(
    state: State, target: Project | Task | Job, task: Task, names: Counter[tuple[str, str]]
) -> Iterator[Item]:
    assert task.media is not None
    data = annotations_of(state, target, task)
    by_frame: dict[int, list[Json]] = {}
    for shape in (*data["shapes"], *tracks.to_shapes(data["tracks"], len(task.media.frames))):
        by_frame.setdefault(shape["frame"], []).append(shape)
    for frame in frame_range(state, target, task):
        if frame in task.media.deleted_frames:
            continue
        picture = task.media.frames[frame]
        number = task.media.start_frame + frame * step_of(task)
        plain = f"frame_{number:06d}" if task.media.mode == "interpolation" else picture.name
        yield Item(
            task=task,
            frame=frame,
            number=number,
            name=_unique(plain, default_subset(task), names),
            subset=default_subset(task),
            picture=picture,
            shapes=sorted(by_frame.get(frame, []), key=lambda shape: shape["z_order"]),
            tags=[tag for tag in data["tags"] if tag["frame"] == frame],
        )


def annotations_of(state: State, target: Project | Task | Job, task: Task) -> dict[str, list[Json]]:
    found = annotations.of_job(state, target) if isinstance(target, Job) else annotations.of_task(state, task)
    return dict(found)


def _unique(name: str, subset: str, names: Counter[tuple[str, str]]) -> str:
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    candidate, tried = stem, 0
    while names[subset, candidate]:
        tried += 1
        candidate = f"{stem}_{tried}"
    names[subset, candidate] += 1
    return f"{candidate}{dot}{suffix}"
