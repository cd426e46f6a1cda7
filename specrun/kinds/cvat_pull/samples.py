"""Pulled tasks as samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from specrun.formats.cvat_api_read import LabelBook, read_annotations
from specrun.formats.image_names import name_key
from specrun.formats.orientation import labels_to_upright
from specrun.formats.tally import Tally
from specrun.kinds.cvat_pull.choose import split_of
from specrun.kinds.cvat_pull.names import local_names
from specrun.kinds.cvat_pull.pulled import Image, Pulled
from specrun.kinds.cvat_pull.spec import CvatSourceSpec
from specrun.model.labels import AnyLabel, Sample

FieldValue = str | float | int | bool | None


def samples_of(
    spec: CvatSourceSpec, source: str, pulled: Pulled, output: Path, classes: dict[str, None], lost: Tally
) -> Iterator[Sample]:
    """The task's frames in order. output: where the folder will lie. classes: is told the task's labels.

    Raises FormatError: a shape cannot be read.
    """
    book = LabelBook.of(pulled.labels)
    classes.update(dict.fromkeys(book.classes))
    where = f'task {pulled.task.id} "{pulled.task.name}"'
    images = pulled.images or {}
    lost.add("frame", "{have} no image here and {were} left out", len(pulled.numbers) - len(images))
    labels = read_annotations(pulled.annotations, book, images, deleted=pulled.deleted, where=where, lost=lost)
    ids = {book.names[int(label["id"])]: int(label["id"]) for label in pulled.labels}
    names = local_names(pulled.index, pulled.numbers)
    _, split = split_of(spec, pulled.task.subset)
    for number, image in images.items():
        upright = tuple(_upright(label, image) for label in labels[number])
        yield Sample(
            key=f"{source}/{pulled.task.id}/{number:06d}",
            media=Path(image.path) if image.elsewhere else output / image.path,
            name=name_key(names[number]),
            digest=image.digest,
            size_wh=image.size_wh,
            split=split,
            labels=upright,
            fields=_fields(pulled, number, sorted({ids[label.label] for label in upright})),
        )


def _upright(label: AnyLabel, image: Image) -> AnyLabel:
    if image.turn == 1:
        return label
    width, height = image.size_wh
    return labels_to_upright(label, image.turn, (height, width))


def _fields(pulled: Pulled, number: int, label_ids: Iterable[int]) -> Mapping[str, FieldValue]:
    """Where the frame is in CVAT. cvat_assignee: whose job it is; cvat_updated: when that job was last saved."""
    task, job = pulled.task, pulled.job_of(number)
    return {
        "cvat_task_id": task.id,
        "cvat_task_name": task.name,
        "cvat_job_id": job.id,
        "cvat_subset": task.subset,
        "cvat_project_id": task.project_id,
        "cvat_project_name": task.project_name,
        "cvat_frame": number,
        "cvat_label_ids": ",".join(map(str, label_ids)),
        "cvat_assignee": job.assignee or task.assignee,
        "cvat_updated": job.updated,
    }


def task_facts(pulled: Pulled, standing: str) -> dict[str, Any]:
    """standing: ready, reopened or deleted."""
    return {
        "name": pulled.task.name,
        "subset": pulled.task.subset,
        "frames": len(pulled.images or ()),
        "updated": str(pulled.entry["updated"]),
        "standing": standing,
    }
