"""What may be written under `sources.<name>` of kind cvat."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from specrun.spec.kind import NOT_RESULT, NodeSpec, Problem, Ref, Strict

Split = Literal["train", "val", "test"]
Stage = Literal["annotation", "validation", "acceptance"]
State = Literal["new", "in progress", "completed", "rejected"]
_SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


def _require(value: object) -> object:
    if value in ("any", "all") or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    if isinstance(value, str) and (found := _SHARE.fullmatch(value)) and 0 < float(found[1]) <= 100:
        return value
    raise ValueError(f'{value} is none of any, all, a number of tasks, or a share such as "80%"')


class SelectSpec(Strict):
    """Which tasks are wanted, ready or not."""

    subsets: dict[str, Split | None] | None = None
    """The subsets that are wanted and the split each becomes (null: none), written as in CVAT; `""` stands for tasks
    without a subset. A task of a subset that is not named is left out, and the plan names the subset. Default: train,
    val, validation and test, whatever their case; with `from`, also tasks without a subset (no split)."""
    tasks: list[int] | None = Field(default=None, min_length=1)
    """Only these tasks, by id."""
    jobs: list[int] | None = Field(default=None, min_length=1)
    """Only the frames of these jobs, by id."""
    assignee: str | None = None
    """Only the jobs of this user; a job that has none belongs to the user of its task."""


class ReadySpec(Strict):
    """When a task is done. What is null does not matter; ground truth jobs and replicas never count."""

    status: Literal["annotation", "validation", "completed"] | None = "completed"
    """The task's status, or one further on. The server says completed when every job is at stage acceptance and
    completed. Where `select` picks some of a task's jobs, the status of those counts."""
    stage: Stage | None = None
    """Every selected job is at this stage, or has gone on from it to a later one."""
    state: State | None = None
    """Every selected job is in this state; one that has gone on to a later stage than `stage` had it before."""


class MediaSpec(Strict):
    """Where the images come from."""

    quality: Literal["original", "compressed"] = "original"
    """original: as they were uploaded (the server turns images with an EXIF orientation upright); compressed: as
    annotators see them."""
    download: Literal["all", "missing", "none"] = "all"
    """all: every image lies in the source's own folder, linked from `from` or downloaded. missing: images of `from`
    are used where they lie, the others are downloaded. none: nothing is downloaded, and frames without an image in
    `from` are left out."""
    from_: list[str] = Field(default=[], alias="from")
    """Folders and sources (`sources.semif`) that are looked in first, in this order. An image is taken when its path
    ends as the frame's name does, no other image there fits as well, and its upright size in pixels is the frame's.
    CVAT tells no more of an image than its name and size. Folders are looked through when a task is pulled, and not
    watched."""


class CvatSourceSpec(NodeSpec):
    connection: Annotated[str | None, Ref("connections")] = None
    """The server."""
    project: str | int | None = None
    """The project, by name or id. Several projects of one name are an error that lists them."""
    tasks: list[int] | None = Field(default=None, min_length=1)
    """Single tasks by id, instead of a project."""
    from_: Annotated[str | None, Ref("cvat_projects")] = Field(default=None, alias="from")
    """What `cvat_projects` made: its project or tasks, instead of `connection` and `project`."""
    select: SelectSpec = SelectSpec()
    """Which tasks are wanted, ready or not."""
    ready: ReadySpec = ReadySpec()
    """When a task is done."""
    require: Annotated[str | int, BeforeValidator(_require)] = Field(default="any", json_schema_extra=NOT_RESULT)
    """How many of the wanted tasks must be ready; until then the node waits for people. any: at least one, and what
    is ready is pulled; all; a number; or a share such as "80%", rounded up."""
    deleted: Literal["keep", "drop"] = "keep"
    """What becomes of a task that was pulled and then deleted in CVAT. keep: it stays as it was pulled, and every plan
    says so. drop: its samples go."""
    media: MediaSpec = MediaSpec()
    """Where the images come from."""


def problems(spec: CvatSourceSpec) -> Iterator[Problem]:
    """Mistakes that types cannot express."""
    named = [key for key, value in (("project", spec.project), ("tasks", spec.tasks), ("from", spec.from_)) if value]
    if len(named) != 1:
        there = f"`{named[0]}` and `{named[1]}` are both given" if named else "it says nowhere what to pull"
        yield Problem(named[1] if named else "", there, "Give one of project, tasks and from.")
    if spec.from_ is None and spec.connection is None:
        yield Problem("", "`connection` is missing", "Name an entry of connections.")
    if spec.from_ is not None and spec.connection is not None:
        yield Problem("connection", "with `from` the connection is known", "Remove it.")
    if spec.tasks and spec.select.tasks:
        yield Problem("select.tasks", "`tasks` says already which tasks are wanted", "Remove one of them.")
    ready = spec.ready
    if ready.status == "completed" and (ready.stage or "acceptance", ready.state or "completed") != (
        "acceptance",
        "completed",
    ):
        message = "a task is completed only when its jobs are at stage acceptance and completed, so this never holds"
        yield Problem("ready", message, "Write status: null beside it.")
    if spec.media.download == "none" and not spec.media.from_:
        yield Problem("media.download", "with `none` the images must be somewhere else", "Name folders in media.from.")


def required(require: str | int, wanted: int) -> int:
    """How many of the wanted tasks must be ready."""
    if isinstance(require, int):
        return require
    if require == "all":
        return max(wanted, 1)
    if require == "any":
        return 1
    share = Decimal(require.rstrip("%"))
    return max(1, math.ceil(share * wanted / 100))
