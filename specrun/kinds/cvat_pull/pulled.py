"""One task as it was pulled: `tasks/<id>.json` in the output.

It holds what the server answered, so that a later pull can take an unchanged task over without a request, also when
the spec maps subsets or classes differently by then. Images lie in `media/<task id>/`.
Rejected: keeping finished samples alone (a changed mapping would need the server again), and one file for all tasks
(it could not be taken over by a hard link).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from specrun.clients.cvat.things import Frame, FrameIndex, Job, Task
from specrun.model.digest import Json

FORMAT = 1
TASKS, MEDIA = "tasks", "media"


@dataclass(frozen=True)
class Image:
    """path: relative to the output, or of a file elsewhere that is used where it lies. size_wh: upright.
    turn: EXIF orientation to be applied to labels that were drawn on the stored pixels, or 1."""

    path: str
    digest: str
    size_wh: tuple[int, int]
    elsewhere: bool = False
    turn: int = 1


@dataclass(frozen=True)
class Pulled:
    """entry: of the observed value. numbers: the frames that are wanted. media_key: of the settings that images
    depend on. labels: as `/api/labels` gives them."""

    task: Task
    jobs: tuple[Job, ...]
    entry: Mapping[str, Json]
    labels: tuple[Mapping[str, Any], ...]
    index: FrameIndex
    annotations: Mapping[str, Any]
    media_key: Json = None
    images: Mapping[int, Image] | None = None

    @property
    def numbers(self) -> list[int]:
        spans = [(job.start_frame, job.stop_frame) for job in self.jobs]
        return [
            frame.number
            for frame in self.index.frames
            if not frame.deleted and any(first <= frame.number <= last for first, last in spans)
        ]

    @property
    def deleted(self) -> set[int]:
        return {frame.number for frame in self.index.frames if frame.deleted}

    def job_of(self, frame: int) -> Job:
        return next(job for job in self.jobs if job.start_frame <= frame <= job.stop_frame)

    def same_data(self, other: Pulled) -> bool:
        """Whether the images are the same: frames are added and removed by making the data anew only."""
        mine, its = self.index, other.index
        return mine.updated == its.updated and [f.name for f in mine.frames] == [f.name for f in its.frames]


def task_file(folder: Path, task: int) -> Path:
    return folder / TASKS / f"{task}.json"


def save_pulled(folder: Path, pulled: Pulled) -> None:
    """Whole or not at all: it appears by a rename."""
    data = {
        "format": FORMAT,
        "task": asdict(pulled.task),
        "jobs": [asdict(job) for job in pulled.jobs],
        "entry": dict(pulled.entry),
        "labels": list(pulled.labels),
        "index": asdict(replace(pulled.index, frames=())),
        "frames": [[f.name, f.width, f.height, f.deleted] for f in pulled.index.frames],
        "annotations": {key: pulled.annotations.get(key) or [] for key in ("tags", "shapes", "tracks")},
        "media_key": pulled.media_key,
        "images": None
        if pulled.images is None
        else {str(n): [i.path, i.digest, *i.size_wh, i.elsewhere, i.turn] for n, i in pulled.images.items()},
    }
    path = task_file(folder, pulled.task.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".part")
    staged.write_text(json.dumps(data, separators=(",", ":")), encoding="ascii")
    os.replace(staged, path)


def load_pulled(folder: Path | None, task: int) -> Pulled | None:
    """None: there is none, or it is of another version of this file."""
    if folder is None:
        return None
    try:
        data = json.loads(task_file(folder, task).read_bytes())
        return _pulled(data) if data["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pulled(data: Mapping[str, Any]) -> Pulled:
    frames = tuple(Frame(number, *row) for number, row in enumerate(data["frames"]))
    images = data["images"]
    return Pulled(
        task=Task(**data["task"]),
        jobs=tuple(Job(**job) for job in data["jobs"]),
        entry=data["entry"],
        labels=tuple(data["labels"]),
        index=FrameIndex(**{**data["index"], "frames": frames}),
        annotations=data["annotations"],
        media_key=data["media_key"],
        images=None
        if images is None
        else {
            int(number): Image(path, digest, (width, height), elsewhere, turn)
            for number, (path, digest, width, height, elsewhere, turn) in images.items()
        },
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Raises FileNotFoundError: no such source."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
