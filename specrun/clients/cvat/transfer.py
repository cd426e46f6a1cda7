"""Moving data to and from a CVAT server, in workers: annotations and archives. Images: frames.py and uploads.py."""
# `annotations` is a function here, so the future import of that name is left out.

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from specrun.clients.cvat.answers import Refused
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.background import begin_or_join, finish, result_path
from specrun.clients.cvat.catalogue import find_task
from specrun.clients.cvat.frames import Moved, Quality, fetch_frames
from specrun.clients.cvat.uploads import has_data, upload_images
from specrun.clients.downloads import Progress

__all__ = [
    "Moved",
    "Quality",
    "annotations",
    "backup",
    "export_dataset",
    "fetch_frames",
    "has_data",
    "put_annotations",
    "upload_images",
]

PORTION_POINTS = 200_000
"""Numbers in one portion of annotations: about 2 MB, far below every server's limit on a request."""


def annotations(api: Api, task_id: int) -> dict[str, Any]:
    """`{version, tags, shapes, tracks, …}` of the whole task; a task without data has none of them."""
    try:
        told: dict[str, Any] = api.get(f"/api/tasks/{task_id}/annotations/")
    except Refused as refused:
        task = find_task(api, task_id) if refused.status == 400 else None
        if task is None or task.has_data:
            raise
        told = {}
    return {"version": 0, "tags": [], "shapes": [], "tracks": [], **told}


def put_annotations(
    api: Api, task_id: int, data: Mapping[str, Sequence[Any]], *, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Add `{tags, shapes, tracks}` to what the task has, in portions; returns what the server made, with ids.

    Not repeated by itself: after a failure compare with `annotations`. progress: objects so far and in all.
    """
    made: dict[str, Any] = {"tags": [], "shapes": [], "tracks": []}
    total = sum(len(data.get(sort, ())) for sort in made)
    done = 0
    for portion in portions(data):
        told = api.patch(f"/api/tasks/{task_id}/annotations/", portion, action="create")
        for sort in made:
            made[sort] += told.get(sort) or []
        done += sum(map(len, portion.values()))
        if progress is not None:
            progress(done, total)
    return made


def portions(data: Mapping[str, Sequence[Any]], most: int = PORTION_POINTS) -> Iterator[dict[str, list[Any]]]:
    """The objects in their order, split where a portion would hold more than `most` numbers."""
    portion: dict[str, list[Any]] = {"tags": [], "shapes": [], "tracks": []}
    weight = 0
    for sort in ("tags", "shapes", "tracks"):
        for thing in data.get(sort, ()):
            heavy = _weight(thing)
            if weight and weight + heavy > most:
                yield portion
                portion, weight = {"tags": [], "shapes": [], "tracks": []}, 0
            portion[sort].append(thing)
            weight += heavy
    if weight:
        yield portion


def _weight(thing: Mapping[str, Any]) -> int:
    """Numbers in an object; ten for what every object has."""
    inner = [*(thing.get("elements") or ()), *(thing.get("shapes") or ())]
    return 10 + len(thing.get("points") or ()) + sum(map(_weight, inner))


def export_dataset(
    api: Api,
    of: Literal["projects", "tasks", "jobs"],
    id: int,
    *,
    format: str,
    save_images: bool,
    target: Path,
    progress: Progress | None = None,
) -> Path:
    """An archive in one of the server's formats, written to `target`."""
    path = f"/api/{of}/{id}/dataset/export"
    return _made(api, path, {"format": format, "save_images": save_images}, target, progress)


def backup(
    api: Api, of: Literal["projects", "tasks"], id: int, *, target: Path, progress: Progress | None = None
) -> Path:
    """A backup that CVAT can restore, written to `target`."""
    return _made(api, f"/api/{of}/{id}/backup/export", {}, target, progress)


def _made(api: Api, path: str, query: Mapping[str, Any], target: Path, progress: Progress | None) -> Path:
    rq_id, joined = begin_or_join(api, path, **query)
    request = finish(api, rq_id)
    if joined:
        # It was begun before this call: what people saved since is only in one that is begun now.
        rq_id, _ = begin_or_join(api, path, **query)
        request = finish(api, rq_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    return api.stream(result_path(request), target, progress)
