"""What was put into CVAT: every frame by the content of its image, in batches that are a task each.

Kept with `ctx.remember`, so it is durable before the next request. One key holds the names of the batches, one more
each batch, so that a step forward writes little:

    batches@<scope>            ["3f0c…", …] in the order of their making
    batch@<scope>/<id>         Batch.to_json()

A scope is a server with a project (or none): another project begins with nothing sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from specrun.model.digest import Json, json_digest
from specrun.model.work import Context

SENT_LABELS_NAME = "labels.json"
"""In the output: task → digests of the labels that it was given, so that a pull can tell what became of them."""


class Phase(StrEnum):
    """How far a batch is; each is remembered when it is reached.

    PLANNED: a task was or will be asked for. CREATED: the task has an id. LOADED: it has its frames.
    DONE: it has its labels, and is people's from now on.
    """

    PLANNED = "planned"
    CREATED = "created"
    LOADED = "loaded"
    DONE = "done"


class Memory(Protocol):
    """Of a node, while it runs."""

    def remember(self, key: str, value: Json) -> None: ...
    def recall(self, key: str) -> Json: ...


@dataclass(frozen=True)
class ReadOnly:
    """What a plan sees of it."""

    recall: Callable[[str], Json]

    def remember(self, key: str, value: Json) -> None:
        raise TypeError(f"a plan remembers nothing: {key}")


@dataclass(frozen=True)
class SentFrame:
    """digest: of the image's content; "" where it is not known. name: of the frame in CVAT. key: of the sample."""

    digest: str
    name: str
    key: str


@dataclass(frozen=True)
class Batch:
    """One task. id: digest of the images' contents. subset: as CVAT has it. split: of its images.

    prelabelled: frames, counted from the first, whose labels are in. labels: image → digest of the labels it got.
    rows: image → digest of those labels as they stand in the file that they came from.
    jobs: job → its date after our last write; a job with another date was saved or given to somebody since.
    failed: frame name → why it has no labels or no frame. ours: job → id → content of the labels that the server made
    for us. replacing: job → what a replacement of labels under way has in mind (refresh.py).
    """

    id: str
    name: str
    subset: str
    frames: tuple[SentFrame, ...]
    split: str | None = None
    task_id: int | None = None
    phase: Phase = Phase.PLANNED
    prelabelled: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    jobs: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    ours: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    replacing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def with_ours(self, job_id: int, more: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
        key = str(job_id)
        return {**self.ours, key: {**self.ours.get(key, {}), **more}}

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "subset": self.subset,
            "split": self.split,
            "task_id": self.task_id,
            "phase": str(self.phase),
            "prelabelled": self.prelabelled,
            "frames": [[frame.digest, frame.name, frame.key] for frame in self.frames],
            "labels": dict(self.labels),
            "rows": dict(self.rows),
            "jobs": dict(self.jobs),
            "failed": dict(self.failed),
            "ours": {job: dict(ids) for job, ids in self.ours.items()},
            "replacing": dict(self.replacing),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Batch:
        frames = tuple(SentFrame(*frame) for frame in data["frames"])
        return cls(**{**data, "phase": Phase(data["phase"]), "frames": frames})


def rows_digest(rows: Sequence[Any]) -> str:
    """Of an image's labels as JSON."""
    return json_digest(list(rows)).rpartition(":")[2][:16]


def batch_id(digests: Sequence[str]) -> str:
    """Of the images, whatever their order."""
    return json_digest(sorted(digests)).rpartition(":")[2][:16]


class Ledger:
    """Batches by id, in the order of their making."""

    def __init__(self, memory: Memory, scope: str) -> None:
        self._memory = memory
        self._scope = scope
        ids: Any = memory.recall(f"batches@{scope}") or []
        found: list[Any] = [memory.recall(self._key(str(one))) for one in ids]
        self._batches = {batch.id: batch for batch in (Batch.from_json(data) for data in found if data)}

    def __iter__(self) -> Iterator[Batch]:
        return iter(list(self._batches.values()))

    def __contains__(self, id: str) -> bool:
        return id in self._batches

    def __getitem__(self, id: str) -> Batch:
        return self._batches[id]

    def save(self, batch: Batch) -> Batch:
        """Durable when it returns. A new batch is written before it is listed."""
        self._memory.remember(self._key(batch.id), batch.to_json())
        if batch.id not in self._batches:
            self._memory.remember(f"batches@{self._scope}", [*self._batches, batch.id])
        self._batches[batch.id] = batch
        return batch

    def update(self, batch: Batch, **changes: Any) -> Batch:
        return self.save(replace(batch, **changes))

    def sent(self) -> dict[str, SentFrame]:
        """By the content of the image."""
        return {frame.digest: frame for batch in self for frame in batch.frames if frame.digest}

    def count(self, subset: str) -> int:
        return sum(batch.subset == subset for batch in self)

    def _key(self, id: str) -> str:
        return f"batch@{self._scope}/{id}"


def mark_of(ctx: Context) -> str:
    """What the marks of all tasks of this node begin with, in every copy of the project."""
    return f"{_MARK}{project_word(ctx)}/{ctx.address}/"


def project_word(ctx: Context) -> str:
    """The spec's name of the project, which a clone in another folder has too."""
    return (ctx.project_name or ctx.project_dir.name).replace("/", "_")


_MARK = "specrun:"
_MAKING = "#making"


@dataclass(frozen=True)
class Marker:
    """What a task carries as its `bug_tracker`: `specrun:<project>/<address>/<batch>`, with `#making` until its
    labels are in. CVAT lists tasks by it (`tracker_link`)."""

    project: str
    address: str
    batch: str
    making: bool = False

    def __str__(self) -> str:
        return f"{_MARK}{self.project}/{self.address}/{self.batch}{_MAKING if self.making else ''}"

    @classmethod
    def parse(cls, text: str) -> Marker | None:
        """None: somebody else's."""
        if not text.startswith(_MARK):
            return None
        body, making, _ = text[len(_MARK) :].partition(_MAKING)
        project, _, rest = body.partition("/")
        address, _, batch = rest.rpartition("/")
        return cls(project, address, batch, bool(making)) if address and batch else None
