"""Which tasks are wanted, which of them are ready, and how they stand to what was pulled last.

The observed value is small and says only what matters to the output: `{"host", "project",
"tasks": {id: {"updated", "jobs": {id: updated}}}, "labels": {id: digest}}`, ready tasks alone. A task that people
work on is not in it, so that their drawing makes nothing stale. A task that was pulled and then reopened or deleted
keeps the entry it had: its data is kept, so nothing is stale either.
`updated` is the task's date, which the server moves with each save of annotations and with changes of labels, subset
and status, and not with exports. A job's date also moves when the job is given to somebody or frames are deleted in it.
Where only some jobs are selected, `updated` is their newest date.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from specrun.clients.cvat.things import Job, LabelDef, Task
from specrun.errors import NodeError
from specrun.kinds.cvat_pull.spec import CvatSourceSpec, ReadySpec, SelectSpec, required
from specrun.model.digest import Json, json_digest

USUAL_SUBSETS: Mapping[str, str] = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_STAGES: Mapping[str, int] = {"annotation": 0, "validation": 1, "acceptance": 2}
_STATUSES: Mapping[str, int] = {"annotation": 0, "validation": 1, "completed": 2}
_STAGE_OF_STATUS: Mapping[str, str] = {"validation": "validation", "completed": "acceptance"}
_DONE_EARLY = ("annotation", "completed")
_SHOWN = 40


class Stand(Enum):
    """OUT: not selected, or nothing that can be pulled. WAITING: people still owe it."""

    READY = "ready"
    WAITING = "waiting"
    OUT = "out"


@dataclass(frozen=True)
class Choice:
    """A task and what of it is wanted. jobs: by first frame. whole: all of its jobs. reason: why it is not ready."""

    task: Task
    jobs: tuple[Job, ...]
    whole: bool
    stand: Stand
    reason: str = ""
    split: str | None = None

    @property
    def entry(self) -> dict[str, Json]:
        """Its part of the observed value."""
        updated = self.task.updated if self.whole else max(job.updated for job in self.jobs)
        return {"updated": updated, "jobs": {str(job.id): job.updated for job in self.jobs}}

    @property
    def title(self) -> str:
        return f'task {self.task.id} "{self.task.name}"'


def choose(spec: CvatSourceSpec, tasks: Iterable[Task], jobs: Iterable[Job]) -> list[Choice]:
    """Every task, in the order of ids."""
    of_task: dict[int, list[Job]] = {}
    for job in jobs:
        if job.type == "annotation":
            of_task.setdefault(job.task_id, []).append(job)
    return [
        _choice(spec, task, sorted(of_task.get(task.id, ()), key=lambda job: (job.start_frame, job.id)))
        for task in sorted(tasks, key=lambda task: task.id)
    ]


def _choice(spec: CvatSourceSpec, task: Task, jobs: Sequence[Job]) -> Choice:
    known, split = split_of(spec, task.subset)
    wanted = tuple(job for job in jobs if _wants_job(spec.select, task, job))
    whole = len(wanted) == len(jobs)

    def out(reason: str, stand: Stand = Stand.OUT) -> Choice:
        return Choice(task, wanted, whole, stand, reason, split)

    if spec.select.tasks is not None and task.id not in spec.select.tasks:
        return out("not in select.tasks")
    if task.dimension == "3d" or task.media_type not in ("", "image", "video"):
        return out(f"holds {'3D data' if task.dimension == '3d' else task.media_type}, which is not read")
    if not known:
        name = f'its subset "{task.subset}"' if task.subset else 'it has no subset; `""`'
        return out(f"{name} is not mapped by select.subsets")
    if jobs and not wanted:
        return out("none of its jobs is selected")
    if not task.size or not jobs:
        return out("it has no images yet", Stand.WAITING)
    reason = _unready(spec.ready, task, wanted, whole=whole)
    return out(reason, Stand.WAITING) if reason else out("", Stand.READY)


def split_of(spec: CvatSourceSpec, subset: str) -> tuple[bool, str | None]:
    """Whether the subset is wanted, and the split that it becomes."""
    subsets = spec.select.subsets
    if subsets is not None:
        return subset in subsets, subsets.get(subset)
    if not subset:
        return spec.from_ is not None, None
    return subset.lower() in USUAL_SUBSETS, USUAL_SUBSETS.get(subset.lower())


def _wants_job(select: SelectSpec, task: Task, job: Job) -> bool:
    if select.jobs is not None and job.id not in select.jobs:
        return False
    return select.assignee is None or (job.assignee or task.assignee) == select.assignee


def _unready(ready: ReadySpec, task: Task, jobs: Sequence[Job], *, whole: bool) -> str:
    """Why it is not ready; "" when it is."""
    open_jobs = [job for job in jobs if not _job_ready(ready, job, of_whole=whole)]
    if open_jobs:
        one = open_jobs[0]
        who = f", {one.assignee}" if one.assignee else ""
        done = len(jobs) - len(open_jobs)
        return f"{done} of {len(jobs)} jobs ready; job {one.id} is {one.state} at stage {one.stage}{who}"
    if whole and ready.status is not None and _STATUSES.get(task.status, 0) < _STATUSES[ready.status]:
        return f"its status is {task.status}, wanted is {ready.status}"
    return ""


def _job_ready(ready: ReadySpec, job: Job, *, of_whole: bool) -> bool:
    """A job that went on to a later stage has its state set back to new by the server, and is as ready as before."""
    stage, wanted = _STAGES.get(job.stage, 0), _STAGES[ready.stage or "annotation"]
    further = ready.stage is not None and stage > wanted
    if stage < wanted or (ready.state is not None and job.state != ready.state and not further):
        return False
    if ready.status == "completed":
        return (job.stage, job.state) == ("acceptance", "completed")
    return of_whole or ready.status is None or _STATUSES.get(job.status, 0) >= _STATUSES[ready.status]


@dataclass(frozen=True)
class Standing:
    """What a pull has to do. kept: reopened or deleted tasks by id, with the entries of their last pull.

    One task a line: changes make the node stale, reports (of what is kept) and remarks (of what is out) do not.
    """

    place: Mapping[str, Json]
    ready: tuple[Choice, ...]
    waiting: tuple[Choice, ...]
    kept: Mapping[int, Mapping[str, Json]]
    changes: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    labels: Mapping[str, Json] = field(default_factory=dict)

    @property
    def entries(self) -> dict[str, Json]:
        found: dict[str, Json] = {str(choice.task.id): choice.entry for choice in self.ready}
        found |= {str(task): dict(entry) for task, entry in self.kept.items()}
        return dict(sorted(found.items(), key=lambda item: int(item[0])))

    @property
    def value(self) -> dict[str, Json]:
        """Observation.value."""
        return {**self.place, "tasks": self.entries, "labels": dict(self.labels)}


def standing(
    spec: CvatSourceSpec,
    choices: Sequence[Choice],
    labels: Sequence[LabelDef],
    *,
    before: Json,
    host: str,
    project: int | None,
    moved: Collection[int] = (),
) -> Standing:
    """before: the value recorded with the last pull, or None; one of another server or project says nothing.
    moved: tasks that are on the server and not in the project any more."""
    place: dict[str, Json] = {"host": host, "project": project}
    known: Mapping[str, Any] = before if isinstance(before, dict) and before.items() >= place.items() else {}
    recorded: Mapping[str, Any] = known.get("tasks") or {}
    by_id = {choice.task.id: choice for choice in choices}
    ready = tuple(choice for choice in choices if choice.stand is Stand.READY)
    waiting = tuple(choice for choice in choices if choice.stand is Stand.WAITING)
    changes: list[str] = []
    reports: list[str] = []
    for choice in ready:
        entry = recorded.get(str(choice.task.id))
        if entry is None:
            changes.append(f"{choice.title} is in: {_frames(choice.task.size)}, new")
        elif entry != choice.entry:
            what = "was edited" if entry["updated"] != choice.entry["updated"] else "has a job that was changed"
            changes.append(f"{choice.title} {what}")
    kept: dict[int, Mapping[str, Json]] = {}
    for text, entry in recorded.items():
        gone = by_id.get(int(text))
        if gone is None and int(text) in moved:
            changes.append(f"task {text} is out now: it is not in the project any more")
        elif gone is None and not _still_named(spec, int(text), entry):
            changes.append(f"task {text} is out now: it is not selected")
        elif gone is None and spec.deleted == "drop":
            changes.append(f"task {text} was deleted in CVAT; its data goes")
        elif gone is None:
            kept[int(text)] = entry
            reports.append(f"task {text} was deleted in CVAT; its data is kept")
        elif gone.stand is Stand.WAITING:
            kept[int(text)] = entry
            reports.append(f"{gone.title} was reopened ({gone.reason}); its last finished state is kept")
        elif gone.stand is Stand.OUT:
            changes.append(f"{gone.title} is out now: {gone.reason}")
    remarks = [
        f"{choice.title} is out: {choice.reason}"
        for choice in choices
        if choice.stand is not Stand.READY and str(choice.task.id) not in recorded
    ]
    if known:
        changes += _label_changes(labels, known.get("labels"))
    return Standing(
        place,
        ready,
        waiting,
        kept,
        _some(changes),
        _some(reports),
        _some(remarks),
        signatures(labels, known.get("labels")),
    )


def _label_changes(labels: Sequence[LabelDef], before: Json) -> list[str]:
    names = {str(label.id): label.name for label in labels}
    recorded = before if isinstance(before, dict) else {}
    now = signatures(labels, recorded)
    return [
        f'label "{names[label]}" was changed' if label in names else f"label {label} was deleted"
        for label, signature in recorded.items()
        if signature is not None and now[label] != signature
    ]


def _still_named(spec: CvatSourceSpec, task: int, entry: Mapping[str, Any]) -> bool:
    """Whether a task that is not on the server any more would be selected by its ids."""
    named = [ids for ids in (spec.tasks, spec.select.tasks) if ids is not None]
    jobs = spec.select.jobs
    return all(task in ids for ids in named) and (jobs is None or any(str(job) in entry["jobs"] for job in jobs))


def signatures(labels: Sequence[LabelDef], among: Json = None) -> dict[str, Json]:
    """What labels are called and what their attributes are. among: the recorded ones, to which the answer is kept:
    a label that was added since the last pull is on no shape that was pulled."""
    now: dict[str, Json] = {}
    for label in labels:
        attributes = [[a.id, a.name, a.input_type] for a in label.attributes]
        now[str(label.id)] = json_digest([label.name, attributes, [[p.id, p.name] for p in label.sublabels]])[:12]
    return {label: now.get(label) for label in among} if isinstance(among, dict) else now


def _some(lines: Sequence[str]) -> tuple[str, ...]:
    if len(lines) <= _SHOWN:
        return tuple(lines)
    return (*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more tasks")


def missing(spec: CvatSourceSpec, found: Standing, url: str) -> tuple[str, ...]:
    """What people still owe until `require` holds, one line each with a link; empty when it holds."""
    wanted = len(found.ready) + len(found.waiting)
    need = required(spec.require, wanted)
    if len(found.ready) >= need or (spec.require == "any" and found.kept):
        return ()
    lines = [f"{choice.title}: {choice.reason}: {_link(choice, url)}" for choice in found.waiting]
    if wanted < need:
        lines.append(f"{need} tasks are required and {wanted} are selected in CVAT")
    head = f"{len(found.ready)} of {wanted} {'task is' if wanted == 1 else 'tasks are'} ready, required: {spec.require}"
    return (head, *_some(lines), *_what_to_do(spec.ready, found.waiting))


def _what_to_do(ready: ReadySpec, waiting: Sequence[Choice]) -> Iterator[str]:
    """Once, for all: what the jobs want for so that their tasks are ready."""
    jobs = [job for choice in waiting for job in choice.jobs if not _job_ready(ready, job, of_whole=False)]
    if not jobs:
        return
    stage = ready.stage or _STAGE_OF_STATUS.get(ready.status or "")
    state = ready.state or ("completed" if ready.status == "completed" else None)
    wanted = [f"its {name} to {value}" for name, value in (("stage", stage), ("state", state)) if value]
    if not wanted:
        return
    told = f"when a job is finished, set {' and '.join(wanted)} in CVAT"
    done_early = ready.status == "completed" and any((job.stage, job.state) == _DONE_EARLY for job in jobs)
    if done_early:
        told += "; or let jobs count without a review: ready: {stage: annotation, state: completed, status: null}"
    yield told


def _frames(number: int) -> str:
    return f"{number:,} frame{'' if number == 1 else 's'}"


def _link(choice: Choice, url: str) -> str:
    open_jobs = [job for job in choice.jobs if (job.stage, job.state) != ("acceptance", "completed")]
    place = f"{url}/tasks/{choice.task.id}"
    return f"{place}/jobs/{open_jobs[0].id}" if len(open_jobs) == 1 else place


def check_wanted(spec: CvatSourceSpec, choices: Sequence[Choice], found: Standing, where: str) -> None:
    """Raises NodeError: there are tasks and none of them is selected, or one that is named does not exist."""
    there = {choice.task.id for choice in choices} | set(found.kept)
    absent = [task for task in (*(spec.tasks or ()), *(spec.select.tasks or ())) if task not in there]
    if absent:
        shown = ", ".join(map(str, absent))
        raise NodeError(f"{where}: there is no task {shown} there.", hint="Mend the ids, or the connection.")
    if spec.select.jobs is not None:
        jobs = {job.id for choice in choices for job in choice.jobs}
        unknown = [job for job in spec.select.jobs if job not in jobs]
        if unknown and not found.kept:
            raise NodeError(f"{where}: there is no job {', '.join(map(str, unknown))}.", hint="Mend select.jobs.")
    if choices and not found.ready and not found.waiting and not found.kept:
        reasons = list(dict.fromkeys(f"{choice.title}: {choice.reason}" for choice in choices))
        by_subset = any("subset" in choice.reason for choice in choices)
        hint = 'Name the subsets under select.subsets, for example {"": null} for tasks without one.'
        raise NodeError(
            f"{where}: none of its {len(choices)} tasks is selected: {'; '.join(reasons[:3])}.",
            hint=hint if by_subset else "Mend `select`.",
        )
