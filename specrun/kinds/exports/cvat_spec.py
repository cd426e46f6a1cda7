"""What an export from a CVAT server is declared with."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.errors import NodeError
from specrun.model.digest import Json
from specrun.spec.kind import NodeSpec, Ref

BACKUP = "backup"


class CvatExportSpec(NodeSpec):
    """An archive a task."""

    from_: Annotated[str, Ref("sources", "cvat_projects")] = Field(alias="from")
    """A source of kind cvat, whose ready tasks are exported, or what `cvat_projects` made, all of whose tasks are."""
    format: str
    """A format by its name on the server, for example "CVAT for images 1.1" or "Segmentation mask 1.1"; or `backup`,
    an archive that CVAT can restore. Asked of the server when a plan is made."""
    save_images: bool = False
    """Put the images into the archives; backups always have them."""
    per: Literal["task", "project"] = "task"
    """task: an archive for each task, and only those that changed are asked for again. project: one for the whole
    project, with the tasks that are not ready."""
    unpack: bool = False
    """Unpack each archive into a folder of its name."""


def task_dates(tasks: Sequence[Any]) -> dict[str, Json]:
    """Observation.value of an export of what specrun made."""
    return {"tasks": {str(task.id): task.updated for task in tasks}}


def check_format(name: str, known: Sequence[str], host: str) -> None:
    """Raises NodeError: the server does not export it, with the nearest names."""
    if name in known:
        return
    folded: Mapping[str, str] = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.4)
    shown = " or ".join(f'"{folded[one]}"' for one in close)
    hint = f"Did you mean {shown}?" if close else f"It has: {', '.join(sorted(known))}."
    raise NodeError(f'{host}: exports no format "{name}".', hint=hint)
