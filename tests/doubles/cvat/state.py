"""What the double knows: plain dataclasses, one table for each kind of thing, ids that count up.

Everything is held in memory under one lock (`State.lock`, re-entrant). Annotations are kept per job as the JSON that
GET returns. Frame numbers in annotations and in `deleted_frames` are the task's own: 0 … size-1, whatever `start_frame`
and `frame_filter` picked from the source.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.doubles.cvat.segments import segments

Json = Any
STAGES = ("annotation", "validation", "acceptance")
STATES = ("new", "in progress", "completed", "rejected")


@dataclass
class User:
    id: int
    username: str
    password: str
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    superuser: bool = False
    groups: list[str] = field(default_factory=lambda: ["user"])
    last_login: datetime | None = None
    date_joined: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Organization:
    id: int
    slug: str
    name: str
    owner_id: int
    description: str = ""
    contact: dict[str, str] = field(default_factory=dict)
    created_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_date: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Membership:
    id: int
    user_id: int
    organization_id: int
    role: str
    """worker, supervisor, maintainer, owner."""
    joined_date: datetime
    is_active: bool = True


@dataclass
class Token:
    id: int
    name: str
    value: str
    owner_id: int
    created_date: datetime
    updated_date: datetime
    expiry_date: datetime | None = None
    read_only: bool = False
    last_used_date: datetime | None = None


@dataclass
class Attribute:
    id: int
    name: str
    mutable: bool
    input_type: str
    default_value: str
    values: list[str]


@dataclass
class Label:
    """Of a project or of a task of its own; a skeleton's points are `sublabels` (whose `parent_id` is the skeleton)."""

    id: int
    name: str
    color: str
    type: str
    attributes: list[Attribute] = field(default_factory=list)
    sublabels: list[Label] = field(default_factory=list)
    svg: str | None = None
    project_id: int | None = None
    task_id: int | None = None
    parent_id: int | None = None


@dataclass
class Project:
    id: int
    name: str
    owner_id: int | None
    created_date: datetime
    updated_date: datetime
    organization_id: int | None = None
    assignee_id: int | None = None
    assignee_updated_date: datetime | None = None
    bug_tracker: str = ""
    status: str = "annotation"


@dataclass
class Frame:
    """One frame as the server has it: `original` is what was uploaded, `compressed` what annotators see.

    `compressed` is empty until somebody asks for it.
    """

    name: str
    width: int
    height: int
    original: bytes
    compressed: bytes = b""
    related: dict[str, bytes] = field(default_factory=dict)
    """Context images by name."""


@dataclass
class Media:
    """The data of a task. `start_frame`, `stop_frame` and `frame_filter` are of the source, `frames` what was kept."""

    id: int
    frames: list[Frame]
    image_quality: int = 70
    chunk_size: int = 72
    start_frame: int = 0
    stop_frame: int = 0
    frame_filter: str = ""
    mode: Literal["annotation", "interpolation"] = "annotation"
    chunk_type: Literal["imageset", "video"] = "imageset"
    original_chunk_type: Literal["imageset", "video"] = "imageset"
    sorting_method: str = "lexicographical"
    storage: str = "local"
    storage_method: str = "cache"
    deleted_frames: set[int] = field(default_factory=set)
    chunks_updated_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    source_files: dict[str, bytes] = field(default_factory=dict)
    """What a backup holds when it is not the frames themselves: the video."""


@dataclass
class PartialUpload:
    """A file on its way by TUS."""

    name: str
    length: int
    content: bytearray = field(default_factory=bytearray)


@dataclass
class Task:
    id: int
    name: str
    owner_id: int | None
    created_date: datetime
    updated_date: datetime
    project_id: int | None = None
    organization_id: int | None = None
    assignee_id: int | None = None
    assignee_updated_date: datetime | None = None
    bug_tracker: str = ""
    subset: str = ""
    status: str = "annotation"
    segment_size: int = 0
    overlap: int | None = None
    consensus_replicas: int = 0
    data_id: int | None = None
    """Given when an upload begins, whether or not anything comes of it."""
    media: Media | None = None
    uploads: list[tuple[str, bytes]] = field(default_factory=list)
    """Files that arrived and are not unpacked yet, in order: (name, content); Upload-Start forgets none."""


@dataclass
class Job:
    id: int
    task_id: int
    start_frame: int
    stop_frame: int
    created_date: datetime
    updated_date: datetime
    stage: str = "annotation"
    state: str = "new"
    status: str = "annotation"
    assignee_id: int | None = None
    assignee_updated_date: datetime | None = None
    type: str = "annotation"
    tags: list[Json] = field(default_factory=list)
    shapes: list[Json] = field(default_factory=list)
    tracks: list[Json] = field(default_factory=list)


@dataclass
class Comment:
    id: int
    issue_id: int
    owner_id: int
    message: str
    created_date: datetime
    updated_date: datetime


@dataclass
class Issue:
    id: int
    job_id: int
    frame: int
    position: list[float]
    owner_id: int
    created_date: datetime
    updated_date: datetime
    assignee_id: int | None = None
    resolved: bool = False


@dataclass
class Webhook:
    id: int
    target_url: str
    type: Literal["project", "organization"]
    owner_id: int
    events: list[str]
    created_date: datetime
    updated_date: datetime
    description: str = ""
    secret: str = ""
    project_id: int | None = None
    organization_id: int | None = None
    content_type: str = "application/json"
    is_active: bool = True
    enable_ssl: bool = True


@dataclass
class Delivery:
    id: int
    webhook_id: int
    event: str
    status_code: int | None
    redelivery: bool
    created_date: datetime
    updated_date: datetime
    changed_fields: str
    request: Json
    response: str


@dataclass
class BackgroundRequest:
    """What `/api/requests/{id}` tells about: an upload being unpacked, an export, an import, a backup."""

    id: str
    owner_id: int
    type: str
    """`create:task`, `export:dataset`, `export:annotations`, `export:backup`, `import:annotations`, …"""
    target: Literal["project", "task", "job"]
    created_date: datetime
    project_id: int | None = None
    task_id: int | None = None
    job_id: int | None = None
    org_id: int | None = None
    format: str | None = None
    status: Literal["queued", "started", "finished", "failed"] = "queued"
    message: str = ""
    started_message: str = ""
    """What it says while it runs."""
    progress: float | None = None
    started_date: datetime | None = None
    finished_date: datetime | None = None
    result: bytes | None = None
    """The archive of an export."""
    result_name: str = ""
    result_id: int | None = None
    """What an imported backup became."""
    work: Callable[[], None] | None = None
    polls: int = 0


class Failed(Exception):
    """Work in the background that fails; the text is what the client reads as the request's message."""


def _now() -> datetime:
    return datetime.now(UTC)


class State:
    """Every table by id. `now()` never gives the same instant twice, so that two edits have two dates."""

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.users: dict[int, User] = {}
        self.organizations: dict[int, Organization] = {}
        self.memberships: dict[int, Membership] = {}
        self.tokens: dict[int, Token] = {}
        self.sessions: dict[str, int] = {}
        """Session key → user id."""
        self.login_keys: dict[str, int] = {}
        """What a login answers with, for `Authorization: Token`, → user id."""
        self.projects: dict[int, Project] = {}
        self.labels: dict[int, Label] = {}
        """Sublabels too."""
        self.tasks: dict[int, Task] = {}
        self.jobs: dict[int, Job] = {}
        self.issues: dict[int, Issue] = {}
        self.comments: dict[int, Comment] = {}
        self.webhooks: dict[int, Webhook] = {}
        self.deliveries: dict[int, Delivery] = {}
        self.requests: dict[str, BackgroundRequest] = {}
        self.partial_uploads: dict[tuple[str, str], PartialUpload] = {}
        self.received_files: dict[tuple[str, str], bytes] = {}
        """Annotation files, datasets and backups that arrived, by (folder, name), until Upload-Finish takes them."""
        self.stale_exports = False
        """Hand out the archive of an earlier export, whatever was edited since: the real server's cache can do that."""
        self.export_cache: dict[tuple[str, int, str, bool], tuple[bytes, datetime]] = {}
        """Archives made, with the date that their project, task or job had then."""
        self._counters: dict[str, int] = {}
        self._last = clock()

    def now(self) -> datetime:
        with self.lock:
            self._last = max(self.clock(), self._last + timedelta(microseconds=1))
            return self._last

    def next_id(self, table: str) -> int:
        """`table`: "projects", "tasks", "labels", "shapes" … Ids are never used twice."""
        with self.lock:
            self._counters[table] = self._counters.get(table, 0) + 1
            return self._counters[table]

    def new_organization(self, slug: str, name: str, owner_id: int, **what: Any) -> Organization:
        when = self.now()
        number = self.next_id("organizations")
        made = Organization(number, slug, name, owner_id, created_date=when, updated_date=when, **what)
        self.organizations[made.id] = made
        self.new_membership(owner_id, made.id, "owner")
        return made

    def new_membership(self, user_id: int, organization_id: int, role: str) -> Membership:
        made = Membership(self.next_id("memberships"), user_id, organization_id, role, joined_date=self.now())
        self.memberships[made.id] = made
        return made

    def new_token(self, name: str, owner_id: int, **what: Any) -> Token:
        when = self.now()
        number = self.next_id("tokens")
        value = f"{number}.{secrets.token_urlsafe(24)}"
        made = Token(number, name, value, owner_id, created_date=when, updated_date=when, **what)
        self.tokens[made.id] = made
        return made

    def jobs_of(self, task_id: int) -> list[Job]:
        """By first frame."""
        jobs = [job for job in self.jobs.values() if job.task_id == task_id]
        return sorted(jobs, key=lambda job: (job.start_frame, job.id))

    def tasks_of(self, project_id: int) -> list[Task]:
        return [task for task in self.tasks.values() if task.project_id == project_id]

    def labels_of(self, task: Task) -> list[Label]:
        """Of the task's project, or its own; without sublabels."""
        if task.project_id is not None:
            return self.labels_of_project(task.project_id)
        return [label for label in self.labels.values() if label.task_id == task.id and label.parent_id is None]

    def labels_of_project(self, project_id: int) -> list[Label]:
        labels = self.labels.values()
        return [label for label in labels if label.project_id == project_id and label.parent_id is None]

    def annotations_changed(self, job: Job) -> None:
        """Move the dates as an edit does: of the job, its task and its project."""
        when = self.now()
        task = self.tasks[job.task_id]
        job.updated_date = task.updated_date = when
        if task.project_id is not None:
            self.projects[task.project_id].updated_date = when

    def make_jobs(self, task: Task) -> list[Job]:
        """The jobs of a task whose media has just come; sets the task's real segment size and overlap."""
        assert task.media is not None
        task.media.id = task.data_id = task.data_id or task.media.id
        size = len(task.media.frames)
        made = []
        for start, stop in segments(task, size):
            when = self.now()
            job = Job(self.next_id("jobs"), task.id, start, stop, created_date=when, updated_date=when)
            self.jobs[job.id] = job
            made.append(job)
        task.updated_date = self.now()
        return made
