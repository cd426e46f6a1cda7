"""What there is on a CVAT server: projects, tasks, jobs, labels, frames, formats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.things import FrameIndex, Job, LabelDef, Project, Task


@dataclass(frozen=True, slots=True)
class Format:
    """An export format of the server's own. images: whether it can carry them is not said by the server."""

    name: str
    extension: str
    enabled: bool


def server_version(api: Api) -> str:
    raise NotImplementedError


def find_project(api: Api, name_or_id: str | int) -> Project:
    """Raises NodeError: unknown (with the nearest names), or a name that several have (with their ids)."""
    raise NotImplementedError


def tasks_of(api: Api, project_id: int | None = None, ids: Iterable[int] | None = None) -> list[Task]:
    """By id. Of ids, those that the server does not know are left out."""
    raise NotImplementedError


def jobs_of(api: Api, project_id: int | None = None, task_ids: Iterable[int] | None = None) -> list[Job]:
    """By task and first frame; one listing for a whole project."""
    raise NotImplementedError


def labels_of(api: Api, *, project_id: int | None = None, task_id: int | None = None) -> list[LabelDef]:
    """In the server's order; points of skeletons stand inside their skeleton only."""
    raise NotImplementedError


def frames_of(api: Api, task_id: int) -> FrameIndex:
    """Raises NodeError: the task has no data."""
    raise NotImplementedError


def formats(api: Api) -> list[Format]:
    """Those that the server exports."""
    raise NotImplementedError
