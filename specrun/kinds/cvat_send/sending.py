"""The work of a `cvat_projects` node, from the project to the last label.

<output>/sent.jsonl      one frame a line: image, name, key, task
<output>/labels.json     digests of the labels that were sent, by task
<output>/summary.json    the facts, for other programs
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import find_task, frames_of, jobs_of, labels_of, tasks_marked_with, tasks_of
from specrun.clients.cvat.connection import Connection
from specrun.clients.cvat.things import LabelDef, Task
from specrun.clients.http import Retry
from specrun.kinds.cvat_send.declared import wanted_labels
from specrun.kinds.cvat_send.different import looks_of, most_different
from specrun.kinds.cvat_send.images import read_images, unsendable
from specrun.kinds.cvat_send.labels import WantedLabel
from specrun.kinds.cvat_send.ledger import SENT_LABELS_NAME, Batch, Ledger, Marker, Phase, mark_of
from specrun.kinds.cvat_send.observing import observed_value, prelabels_file, scope_of, stamp_of
from specrun.kinds.cvat_send.ours import defaults_of
from specrun.kinds.cvat_send.people import user_id
from specrun.kinds.cvat_send.planning import Naming, Work, choose, plan_work, rebuilt_batch
from specrun.kinds.cvat_send.prelabels import Prelabels, check_known, label_targets, read_prelabels
from specrun.kinds.cvat_send.project import Target, ensure_project
from specrun.kinds.cvat_send.refresh import Differing, Refreshing, differing
from specrun.kinds.cvat_send.report import SUMMARY_NAME, Report, counted, notes_of, refusals
from specrun.kinds.cvat_send.shapes import LabelSending, frames_of_jobs, portions
from specrun.kinds.cvat_send.spec import ChooseSpec, CvatProjectSpec, LabelsSpec
from specrun.kinds.cvat_send.tasks import TaskMaking, gone_batches, restarted, same_images
from specrun.kinds.cvat_send.webhook import ensure_webhook
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json
from specrun.model.labels import Sample
from specrun.model.state import PASSING_NOTES
from specrun.model.work import Context

SENT_NAME = "sent.jsonl"


def connect(spec: CvatProjectSpec, ctx: Context) -> Api:
    address = spec.connection if "." in spec.connection else f"connections.{spec.connection}"
    connection = Connection.from_declaration(ctx.declarations[address], ctx.secret)
    return Api(connection, retry=Retry.from_settings(ctx.settings), check_stop=ctx.check_stop)


@dataclass
class Sending:
    """One run. labels: those the spec wants; None keeps the project's."""

    spec: CvatProjectSpec
    ctx: Context
    api: Api
    report: Report = field(default_factory=Report)

    def run(self) -> Outputs:
        spec, ctx = self.spec, self.ctx
        samples = self._samples()
        labels = wanted_labels(spec.labels, ctx.declarations, ctx.input("images").facts.get("classes") or ())
        target = self._project(labels)
        ledger = Ledger(ctx, self._scope(target))
        tasks = self._tasks(target, ledger)
        self._rebuild(tasks, ledger, samples)
        prelabels = self._prelabels(samples)
        known = [label.name for label in target.labels] if target else [label.name for label in labels or ()]
        deleted = target.deleted if target else ()
        work = self._work(samples, ledger, prelabels)
        if prelabels is not None:
            check_known(prelabels, _concerned(work, samples, prelabels), known, str(ctx.address), deleted)
        making = self._making(target, labels or (), ledger)
        self._make(work, making, samples, prelabels, target, tasks)
        self._count_labels(work, ledger, prelabels)
        found = self._refresh(ledger, samples, prelabels, target)
        self._remember_labels(target)
        if spec.webhook is not None and target is not None:
            secret = ctx.secret(spec.webhook.secret.model_dump())
            ensure_webhook(self.api, target.project.id, spec.webhook.url, secret)
        return self._outputs(target, labels, ledger, tasks, prelabels, found)

    def _samples(self) -> list[Sample]:
        ctx, chosen = self.ctx, self.ctx.inputs("predicted")
        split: Any = chosen[0].config.get("split") if chosen else None
        samples = read_images(ctx.input("images"), [split] if isinstance(split, str) else split, ctx)
        self.report.records = len(samples)
        return samples

    def _project(self, labels: Sequence[WantedLabel] | None) -> Target | None:
        if self.spec.project is None:
            return None
        rename = self.spec.labels.rename if isinstance(self.spec.labels, LabelsSpec) else {}
        self.ctx.progress(0, None, "", "project and labels")
        target = ensure_project(self.api, self.spec.project, labels, rename, self.ctx)
        if target.made:
            self.report.passing.append(f'the project "{target.project.name}" was made')
        else:
            self.report.passing += target.plan.sentences()
        self.report.notes += target.notes
        return target

    def _scope(self, target: Target | None) -> str:
        return scope_of(self.api.connection.host, target.project.id if target else None)

    def _tasks(self, target: Target | None, ledger: Ledger) -> list[Task]:
        """One listing: all tasks of the project, or those without one that carry this node's mark."""
        if target is not None:
            return tasks_of(self.api, project_id=target.project.id)
        marked = tasks_marked_with(self.api, mark_of(self.ctx))
        known = {batch.task_id for batch in ledger if batch.task_id is not None} - {task.id for task in marked}
        return [*marked, *(tasks_of(self.api, ids=known) if known else ())]

    def _rebuild(self, tasks: Sequence[Task], ledger: Ledger, samples: Sequence[Sample]) -> None:
        """Batches that the ledger does not know, by the mark on their tasks: after a lost state, or another's copy."""
        for task in tasks:
            marker = self._own(task)
            if marker is None or marker.batch in ledger or not task.has_data:
                continue
            frames = frames_of(self.api, task.id).frames
            batch = rebuilt_batch(task.id, task.name, task.subset, marker, frames, samples)
            what = f"task {task.id} ({task.name})"
            unknown = sum(not frame.digest for frame in batch.frames)
            if unknown == len(frames):
                self.report.notes.append(f"{what} carries the mark of this node and none of its images is here: let be")
                continue
            if marker.making and not same_images(batch):
                self.report.notes.append(
                    f"{what} carries the mark of this node, was never finished, and holds other images than those "
                    "here: let be; delete it in CVAT if nobody needs it"
                )
                continue
            ledger.save(batch)
            lost = f", {unknown} without an image here" if unknown else ""
            if not same_images(batch):
                lost += "; its images are taken for sent by name and size alone, so one with other content is not sent"
            self.report.passing.append(f"{what} was found by its mark: {counted(len(frames), 'frame')}{lost}")

    def _own(self, task: Task) -> Marker | None:
        """The mark of this node, which every copy of the project uses."""
        return Marker.parse(task.bug_tracker) if task.bug_tracker.startswith(mark_of(self.ctx)) else None

    def _prelabels(self, samples: Sequence[Sample]) -> Prelabels | None:
        if self.spec.prelabels is None:
            return None
        self.ctx.progress(0, None, "", "read prelabels")
        wanted = frozenset(sample.digest for sample in samples)
        return read_prelabels(self.spec.prelabels, self.ctx.input("prelabels"), wanted, self.ctx)

    def _work(self, samples: Sequence[Sample], ledger: Ledger, prelabels: Prelabels | None) -> Work:
        tasks = self.spec.tasks
        naming = Naming(tasks.name, tasks.subset, tasks.from_.rpartition(".")[2])
        limit = None
        if tasks.choose is not None:
            limit = tasks.choose.n
            samples = self._chosen(tasks.choose, samples, ledger, prelabels)
            self.report.chosen = min(limit, len({sample.digest for sample in samples}))
            self.report.passing.append(
                f"{self.report.chosen:,} of {counted(len(samples), 'image')} chosen ({tasks.choose.strategy})"
            )
        broken = self._broken(samples, ledger, limit)
        work = plan_work([s for s in samples if s.digest not in broken], ledger, naming, tasks.size, limit)
        self.report.skipped = work.known
        if work.copies:
            copies = (
                "1 image is a copy of another, which is"
                if work.copies == 1
                else (f"{work.copies:,} images are copies of others, which are")
            )
            self.report.notes.append(f"{copies} sent once")
        return work

    def _chosen(
        self, wanted: ChooseSpec, samples: Sequence[Sample], ledger: Ledger, prelabels: Prelabels | None
    ) -> Sequence[Sample]:
        """In the order in which they are wanted."""
        ctx, sent = self.ctx, ledger.sent()
        seed = ctx.seed if wanted.seed is None else wanted.seed
        if wanted.strategy != "different":
            scores = {s.digest: prelabels.mean_score(s.digest) for s in samples} if prelabels else {}
            return choose(samples, wanted.strategy, seed, scores)
        missing = max(wanted.n - len(sent), 0)
        if not missing:
            return samples
        looks = looks_of(
            samples,
            ctx.cpus,
            ctx.check_stop,
            lambda done: ctx.progress(done, len(samples), "images", "compare images", part=True),
        )
        return most_different(samples, looks, sent, missing, seed)

    def _broken(self, samples: Sequence[Sample], ledger: Ledger, limit: int | None) -> Mapping[str, str]:
        """Images that CVAT could not read; of a choice only as many are looked at as may be needed."""
        sent = ledger.sent()
        unsent = [sample for sample in samples if sample.digest not in sent]
        self.ctx.progress(0, len(unsent), "images", "check images")
        found: dict[str, str] = {}
        missing = len(unsent) if limit is None else max(limit - len(sent), 0)
        while unsent and missing > 0:
            part, unsent = unsent[:missing], unsent[missing:]
            broken = unsendable(part, self.ctx.cpus, self.ctx.check_stop)
            missing = len(broken) if limit is not None else 0
            found |= broken
            self.report.failed += [(s.name, broken[s.digest]) for s in part if s.digest in broken]
        return found

    def _making(self, target: Target | None, labels: Sequence[WantedLabel], ledger: Ledger) -> TaskMaking:
        assignee = self.spec.tasks.assignee
        return TaskMaking(
            api=self.api,
            ctx=self.ctx,
            ledger=ledger,
            spec=self.spec.tasks,
            project_id=target.project.id if target else None,
            labels=labels,
            assignee_id=user_id(self.api, assignee) if assignee else None,
            # A task is made where it is asked for, and must be where its project is.
            organization_id=(
                target.project.organization_id if target and self.api.connection.organization is None else None
            ),
        )

    def _make(
        self,
        work: Work,
        making: TaskMaking,
        samples: Sequence[Sample],
        prelabels: Prelabels | None,
        target: Target | None,
        tasks: Sequence[Task],
    ) -> None:
        by_digest = {sample.digest: sample for sample in samples}
        there = {task.id for task in tasks}
        marked = {marker.batch: task.id for task in tasks if (marker := self._own(task)) is not None}
        for batch in work.unfinished:
            if batch.task_id is not None and batch.task_id not in there and not find_task(self.api, batch.task_id):
                if batch.phase is Phase.LOADED:
                    making.ledger.update(batch, phase=Phase.DONE)  # people deleted it: sent is sent
                    continue
                batch = making.ledger.save(restarted(batch))
            if batch.phase is Phase.PLANNED and not any(frame.digest in by_digest for frame in batch.frames):
                making.ledger.update(batch, frames=(), phase=Phase.DONE)  # its images went before anything was made
                continue
            self._make_one(batch, making, by_digest, prelabels, target, resumed=True)
        for batch in work.new:
            # A colleague's copy may have begun the very same batch.
            known = marked.get(batch.id)
            if known is not None:
                batch = making.ledger.save(replace(batch, task_id=known, phase=Phase.CREATED))
            self._make_one(batch, making, by_digest, prelabels, target, resumed=known is not None)

    def _make_one(
        self,
        batch: Batch,
        making: TaskMaking,
        samples: Mapping[str, Sample],
        prelabels: Prelabels | None,
        target: Target | None,
        *,
        resumed: bool,
    ) -> None:
        self.ctx.check_stop()
        if batch.phase is Phase.PLANNED:
            batch = making.create(batch)
        if batch.phase is Phase.CREATED:
            batch = making.load(batch, samples, look_first=resumed)
            self.report.uploaded += len(batch.frames) - len(batch.failed)
        self.report.failed += sorted(batch.failed.items())
        if prelabels is not None:
            assert batch.task_id is not None
            labels = target.labels if target else tuple(labels_of(self.api, task_id=batch.task_id))
            batch = self._prelabel(batch, making.ledger, samples, prelabels, labels)
        making.finish(batch)

    def _prelabel(
        self,
        batch: Batch,
        ledger: Ledger,
        samples: Mapping[str, Sample],
        prelabels: Prelabels,
        labels: Sequence[LabelDef],
    ) -> Batch:
        assert batch.task_id is not None
        numbers = {frame.name: frame.number for frame in frames_of(self.api, batch.task_id).frames}
        jobs = [job for job in jobs_of(self.api, task_ids=[batch.task_id]) if job.type == "annotation"]
        pairs, targets = frames_of_jobs(batch, jobs, numbers), label_targets(labels)
        sending = LabelSending(self.api, self.ctx, ledger, defaults_of(targets))
        made = portions(batch, pairs, numbers, samples, prelabels, targets)
        batch = sending.send(batch, made, len(pairs))
        self.report.notes += refusals(batch, sending.refused, numbers, labels)
        return batch

    def _count_labels(self, work: Work, ledger: Ledger, prelabels: Prelabels | None) -> None:
        """Of this run's tasks, by what CVAT said that it took: those of an earlier, killed run of them included."""
        made = [ledger[batch.id] for batch in (*work.unfinished, *work.new) if batch.id in ledger]
        self.report.labels_sent = sum(len(ids) for batch in made for ids in batch.ours.values())
        images = {frame.digest for batch in made for frame in batch.frames}
        if prelabels is not None and images and not self.report.labels_sent:
            self.report.notes.append(f"no prelabels: {prelabels.why_none(images)}")

    def _refresh(
        self, ledger: Ledger, samples: Sequence[Sample], prelabels: Prelabels | None, target: Target | None
    ) -> Differing:
        if prelabels is None:
            return Differing()
        by_digest = {sample.digest: sample for sample in samples}
        found = differing(ledger, by_digest, prelabels)
        if prelabels.spec.refresh == "never":
            return found
        for batch in found.batches:
            assert batch.task_id is not None
            if find_task(self.api, batch.task_id) is None:
                continue
            labels = target.labels if target else tuple(labels_of(self.api, task_id=batch.task_id))
            targets = label_targets(labels)
            refreshing = Refreshing(self.api, self.ctx, ledger, by_digest, prelabels, targets)
            refreshing.batch(batch, found)
            if refreshing.refused:
                numbers = {frame.name: frame.number for frame in frames_of(self.api, batch.task_id).frames}
                self.report.notes += refusals(batch, refreshing.refused, numbers, labels)
        return found

    def _remember_labels(self, target: Target | None) -> None:
        """As of when the labels were compared, so that a plan need not read them."""
        given = self.spec.prelabels
        path = prelabels_file(self.ctx.output_root, given.from_) if given is not None else None
        if path is not None:
            self.ctx.remember(f"prelabels@{self._scope(target)}", stamp_of(path))

    def _outputs(
        self,
        target: Target | None,
        labels: Sequence[WantedLabel] | None,
        ledger: Ledger,
        tasks: Sequence[Task],
        prelabels: Prelabels | None,
        found: Differing,
    ) -> Outputs:
        report, api = self.report, self.api
        gone = [batch for batch in gone_batches(ledger, tasks) if find_task(api, int(batch.task_id or 0)) is None]
        gone_ids = {batch.task_id for batch in gone}
        ids = sorted(b.task_id for b in ledger if b.task_id is not None and b.task_id not in gone_ids)
        project_id = target.project.id if target else None
        place = f"{api.connection.url}/projects/{project_id}" if target else f"{api.connection.url}/tasks"
        passing = (*report.passing, f"in CVAT: {place}")
        facts: dict[str, Json] = {
            "host": api.connection.host,
            "organization": api.connection.organization,
            "project_id": project_id,
            "project_name": target.project.name if target else None,
            "url": place,
            "task_ids": [*ids],
            "urls": [f"{api.connection.url}/tasks/{id}" for id in ids],
            "label_names": [label.name for label in labels] if labels is not None else None,
            "label_ids": dict(target.label_ids) if target else None,
            "records": report.records,
            **({"chosen": report.chosen} if report.chosen is not None else {}),
            "uploaded": report.uploaded,
            **({"labels_sent": report.labels_sent} if prelabels is not None else {}),
            "skipped": report.skipped,
            "failed": [{"name": name, "reason": reason} for name, reason in report.failed],
            "in_cvat": sum(len(b.frames) - len(b.failed) for b in ledger if b.task_id in set(ids)),
            "differing": found.frames,
            "refreshed": found.refreshed,
            PASSING_NOTES: [*passing],
        }
        self._write(facts, ledger)
        return Outputs(
            artifacts=(
                Artifact("sent", "file", SENT_NAME),
                Artifact("summary", "report", SUMMARY_NAME),
                Artifact("project", "link", place),
            ),
            facts=facts,
            notes=(*report.passing, *report.notes, *notes_of(report, gone, prelabels, found), passing[-1]),
            observation=observed_value(project_id, (), self.spec),
        )

    def _write(self, facts: Mapping[str, Json], ledger: Ledger) -> None:
        with open(self.ctx.staging / SENT_NAME, "w", encoding="utf-8") as file:
            for batch in ledger:
                for frame in batch.frames:
                    row = {"task": batch.task_id, "name": frame.name, "key": frame.key, "digest": frame.digest}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        # Frames that two jobs share hold each label twice, and the server merges them.
        whole = [batch for batch in ledger if batch.task_id is not None and not self.spec.tasks.overlap]
        given = {str(b.task_id): sorted(digest for ids in b.ours.values() for digest in ids.values()) for b in whole}
        (self.ctx.staging / SENT_LABELS_NAME).write_text(json.dumps(given), encoding="ascii")
        text = json.dumps(dict(facts), ensure_ascii=False, indent=1)
        (self.ctx.staging / SUMMARY_NAME).write_text(text + "\n", encoding="utf-8")


def _concerned(work: Work, samples: Sequence[Sample], prelabels: Prelabels) -> list[Sample]:
    """Images whose labels may be sent in this run."""
    if prelabels.spec.refresh != "never":
        return list(samples)
    digests = {frame.digest for batch in (*work.unfinished, *work.new) for frame in batch.frames}
    return [sample for sample in samples if sample.digest in digests]
