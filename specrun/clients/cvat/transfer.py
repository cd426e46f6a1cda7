"""Moving data to and from a CVAT server, in workers: annotations, images, archives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.things import FrameIndex, Task

Quality = Literal["original", "compressed"]
Moved = Callable[[int, int, int], None]
"""Images so far, images in all, bytes so far."""


def annotations(api: Api, task_id: int) -> dict[str, Any]:
    """`{version, tags, shapes, tracks, …}` of the whole task; a task without data has none of them."""
    raise NotImplementedError


def fetch_frames(
    api: Api,
    task: Task,
    frames: FrameIndex,
    numbers: Iterable[int],
    quality: Quality,
    folder: Path,
    progress: Moved | None = None,
) -> dict[int, Path]:
    """Frame number → file `<folder>/<number:06d><ending>`; files that are there are not fetched again.

    Whole chunks where they hold what is asked for, single frames otherwise.
    """
    raise NotImplementedError


def upload_images(
    api: Api,
    task_id: int,
    files: Sequence[Path],
    names: Sequence[str],
    *,
    quality: int = 70,
    staging: Path,
    deadline_s: float | None = None,
    progress: Moved | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Give a task its images in the order of `files` and wait until the server has made its frames.

    names: how they are called there, base names that differ from one another. staging: a folder for links under
    these names; it may be removed afterwards. extra: more fields of the data request (`chunk_size`, …).
    After a lost connection `has_data` says whether it went through.
    """
    raise NotImplementedError


def has_data(api: Api, task_id: int) -> bool:
    """Whether the task has its frames; waits for a creation that is still under way."""
    raise NotImplementedError


def put_annotations(
    api: Api, task_id: int, data: Mapping[str, Sequence[Any]], *, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Add `{tags, shapes, tracks}` to what the task has, in portions; returns what the server made, with ids.

    Not repeated by itself: after a failure compare with `annotations`. progress: objects so far and in all.
    """
    raise NotImplementedError


def export_dataset(
    api: Api,
    of: Literal["projects", "tasks", "jobs"],
    id: int,
    *,
    format: str,
    save_images: bool,
    target: Path,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """An archive in one of the server's formats, written to `target`."""
    raise NotImplementedError


def backup(
    api: Api,
    of: Literal["projects", "tasks"],
    id: int,
    *,
    target: Path,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """A backup that CVAT can restore, written to `target`."""
    raise NotImplementedError
