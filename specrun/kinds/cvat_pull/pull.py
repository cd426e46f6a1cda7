"""The work of a pull: ask what there is, take over what did not change, ask again for the rest, write samples.

A task that did not change costs no request. The annotations of one that did come from the live API, one request a
task, since exports are kept by the server and may be older than the last save. After everything was asked, the
listing is asked once more: a task that was saved in between is asked again, one that was reopened in between counts
as reopened. A pull that was stopped goes on with the tasks and images that lie in staging.
Imported by workers only.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from specrun.clients.cvat import transfer
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import frames_of, labels_of
from specrun.clients.cvat.connection import Connection
from specrun.clients.cvat.things import LabelDef
from specrun.clients.http import Retry
from specrun.errors import NodeError, WaitingForPeople
from specrun.formats.samples import SAMPLES_NAME, save_samples
from specrun.formats.tally import Tally
from specrun.kinds.cvat_pull.ask import Asked, ask
from specrun.kinds.cvat_pull.choose import Choice, Standing, check_wanted, choose, missing, signatures, standing
from specrun.kinds.cvat_pull.edits import SentLabels, edits_between, edits_text
from specrun.kinds.cvat_pull.images import FETCHED, ImageStore, drop_fetched, media_key
from specrun.kinds.cvat_pull.local import places
from specrun.kinds.cvat_pull.pulled import Pulled, link_or_copy, load_pulled, save_pulled, task_file
from specrun.kinds.cvat_pull.samples import samples_of, task_facts
from specrun.kinds.cvat_pull.spec import CvatSourceSpec
from specrun.kinds.sources.summary import Summary
from specrun.model.artifact import MANIFEST_NAME, Artifact, Outputs
from specrun.model.digest import Json
from specrun.model.labels import Sample
from specrun.model.state import PASSING_NOTES
from specrun.model.work import Context
from specrun.store.manifest import read_manifest

TASKS_AT_ONCE = 4
ROUNDS = 5
"""How often a task that people keep saving is asked again before the pull gives up."""


def pull(spec: CvatSourceSpec, ctx: Context, connection: Connection) -> Outputs:
    """Raises WaitingForPeople: too few tasks are ready."""
    made = ctx.input("project").facts if spec.from_ else None
    with Api(connection, retry=Retry.from_settings(ctx.settings), check_stop=ctx.check_stop) as api:
        work = _Pull(spec, ctx, api)
        found, asked = work.settled(lambda: ask(api, spec, made, work.before))
    drop_fetched(ctx.staging)
    return work.outputs(found, asked)


@dataclass
class _Pull:
    spec: CvatSourceSpec
    ctx: Context
    api: Api
    pulled: dict[int, Pulled] = field(default_factory=dict)
    """Without their annotations, which lie in staging: all tasks of a large project need not fit into memory."""
    notes: list[str] = field(default_factory=list)
    edits: dict[int, Counter[str]] = field(default_factory=dict)
    """Task → what people changed in it since the last pull."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _progress: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sources = self.ctx.inputs("media")
        among = places(self.spec.media.from_, sources, self.ctx.project_dir)
        self.sent = SentLabels(self.ctx.input("project").folder) if self.spec.from_ else None
        self.store = ImageStore(self.spec.media, self.ctx.staging, self.ctx.previous, among)
        self.before = _recorded(self.ctx)

    def settled(self, listing: Callable[[], Asked]) -> tuple[Standing, Asked]:
        """Pull until nothing moved between the listing before and the one after."""
        asked = listing()
        for _ in range(ROUNDS):
            found = self._standing(asked)
            wanted = [choice for choice in found.ready if not self._has(choice)]
            moved = self._pull_all(wanted, asked)
            if not moved:
                return found, asked
            asked = listing()
        raise NodeError(f"{asked.where}: tasks were saved again and again while they were pulled.", hint="Try later.")

    def _standing(self, asked: Asked) -> Standing:
        choices = choose(self.spec, asked.tasks, asked.jobs)
        project, host = asked.project.id if asked.project else None, self.api.connection.host
        found = standing(
            self.spec, choices, asked.labels, before=self.before, host=host, project=project, moved=asked.moved
        )
        check_wanted(self.spec, choices, found, asked.where)
        owed = missing(self.spec, found, self.api.connection.url)
        if owed:
            raise WaitingForPeople("\n".join(owed))
        return replace(found, labels=signatures(asked.labels))

    def _has(self, choice: Choice) -> bool:
        there = self.pulled.get(choice.task.id)
        return there is not None and there.entry == choice.entry

    def _pull_all(self, wanted: Sequence[Choice], asked: Asked) -> bool:
        """Whether the server was asked for anything."""
        total = sum(choice.task.size for choice in wanted)
        labels = _as_json(asked.labels)
        asked_for: list[bool] = []
        with ThreadPoolExecutor(TASKS_AT_ONCE) as pool:
            futures = [pool.submit(self._one, choice, labels, total) for choice in wanted]
            done, left = wait(futures, return_when=FIRST_EXCEPTION)
            for future in left:
                future.cancel()
            asked_for += [future.result() for future in done]
        return any(asked_for)

    def _one(self, choice: Choice, labels: tuple[dict[str, Any], ...], total: int) -> bool:
        """Whether the server was asked for this task's annotations."""
        self.ctx.check_stop()
        task, ctx = choice.task.id, self.ctx
        before = load_pulled(ctx.previous, task)
        fresh = next((p for p in (load_pulled(ctx.staging, task), before) if p and p.entry == choice.entry), None)
        asked_for = fresh is None
        if fresh is None:
            index = frames_of(self.api, task)
            own = labels or _as_json(labels_of(self.api, task_id=task))
            told = transfer.annotations(self.api, task)
            fresh = Pulled(choice.task, choice.jobs, choice.entry, own, index, told)
        elif labels and fresh.labels != labels:
            fresh = replace(fresh, labels=_known_labels(fresh.labels, labels))
        key = media_key(self.spec.media)
        images = self.store.gather(self.api, fresh, before, lambda done, size: self._tell(task, done, size, total))
        whole = replace(fresh, images=images, media_key=key)
        if whole == before:
            link_or_copy(task_file(_folder(ctx.previous), task), task_file(ctx.staging, task))
        else:
            save_pulled(ctx.staging, whole)
        edits = edits_between(before.annotations, whole.annotations) if before and before.entry != whole.entry else None
        with self._lock:
            self.pulled[task] = replace(whole, annotations={})
            if edits is not None:
                self.edits[task] = edits
        return asked_for

    def _tell(self, task: int, images: int, size: int, total: int) -> None:
        with self._lock:
            self._progress[task] = (images, size)
            done = sum(images for images, _ in self._progress.values())
            megabytes = sum(size for _, size in self._progress.values()) / 1e6
            self.ctx.progress(min(done, total), total, "images", f"pull, {megabytes:.0f} MB" if megabytes else "pull")

    def outputs(self, found: Standing, asked: Asked) -> Outputs:
        """Write the samples of all tasks that are in or kept."""
        ready = {choice.task.id for choice in found.ready}
        there = {task.id for task in asked.tasks}
        standings = dict.fromkeys(ready, "ready")
        for task in found.kept:
            kept = self._keep(task)
            if kept is not None:
                self.pulled[task] = kept
                standings[task] = "reopened" if task in there else "deleted"
        self._remove_others(set(standings))
        summary, lost, classes = Summary(), Tally(), dict.fromkeys(label.name for label in asked.labels)
        samples = summary.count(self._samples(sorted(standings), classes, lost))
        save_samples(self.ctx.staging / SAMPLES_NAME, samples, self.ctx.project_dir)
        facts = summary.facts(classes) | {
            "tasks": {str(task): task_facts(self.pulled[task], standings[task]) for task in sorted(standings)},
            "project_id": asked.project.id if asked.project else None,
            "project_name": asked.project.name if asked.project else None,
            "host": self.api.connection.host,
        }
        passing = list(self._told_of_people(facts))
        facts[PASSING_NOTES] = passing
        for line in found.remarks:
            self.ctx.log(line)
        held = replace(found, kept={task: entry for task, entry in found.kept.items() if task in standings})
        return Outputs(
            artifacts=(Artifact("samples", "file", SAMPLES_NAME),),
            facts=facts,
            parts=summary.parts(classes),
            notes=(*passing, *found.reports, *self.notes, *lost.notes()),
            known_digests=dict(self._digests(standings)),
            observation=held.value,
        )

    def _told_of_people(self, facts: dict[str, Any]) -> Iterator[str]:
        """Sentences of what people did; the numbers go to the facts."""
        if self.edits:
            edits = sum(self.edits.values(), Counter[str]())
            facts["edits"] = dict(edits)
            yield f"since the last pull: {edits_text(edits) or 'no label was changed'}"
        if self.sent is not None and self.sent.counts:
            facts["of_sent"] = dict(self.sent.counts)
            yield from self.sent.note()

    def _keep(self, task: int) -> Pulled | None:
        """A task that was reopened or deleted, as it was pulled last."""
        before = load_pulled(self.ctx.previous, task)
        if before is None or self.ctx.previous is None:
            self.notes.append(f"task {task}: what was pulled last is not here any more, so it is left out")
            return None
        images = {number: image for number, image in (before.images or {}).items() if self.store.keep(image)}
        link_or_copy(task_file(self.ctx.previous, task), task_file(self.ctx.staging, task))
        return replace(before, images=images, annotations={})

    def _samples(self, tasks: Iterable[int], classes: dict[str, None], lost: Tally) -> Iterator[Sample]:
        for done, task in enumerate(tasks, start=1):
            self.ctx.check_stop()
            whole = load_pulled(self.ctx.staging, task)
            assert whole is not None, f"tasks/{task}.json was written before"
            pulled = replace(whole, images=self.pulled[task].images)
            if self.sent is not None:
                self.sent.compare(task, whole.annotations, whole.labels)
            yield from samples_of(self.spec, self.ctx.address.name, pulled, self.ctx.output, classes, lost)
            self.ctx.progress(done, len(self.pulled), "tasks", "samples", part=True)

    def _digests(self, tasks: Iterable[int]) -> Iterator[tuple[str, str]]:
        for task in tasks:
            for image in (self.pulled[task].images or {}).values():
                if not image.elsewhere:
                    yield image.path, image.digest

    def _remove_others(self, tasks: set[int]) -> None:
        """Files in staging that an interrupted pull left and that are not part of this output."""
        wanted = {task_file(self.ctx.staging, task) for task in tasks}
        wanted |= {self.ctx.staging / path for path, _ in self._digests(tasks)}
        for folder in (self.ctx.staging / "tasks", self.ctx.staging / "media", self.ctx.staging / FETCHED):
            for path in folder.rglob("*"):
                if path.is_file() and path not in wanted:
                    path.unlink()


def _as_json(labels: Iterable[LabelDef]) -> tuple[dict[str, Any], ...]:
    """As they come back from a task's file, to be compared with it."""
    return tuple(json.loads(json.dumps(asdict(label))) for label in labels)


def _known_labels(before: Sequence[Any], now: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The project's labels as they are now, and those that only what was pulled knows."""
    there = {label["id"] for label in now}
    return (*now, *(label for label in before if label["id"] not in there))


def _folder(path: Path | None) -> Path:
    assert path is not None
    return path


def _recorded(ctx: Context) -> Json:
    """The value that the previous output was made with."""
    if ctx.previous is None or not (ctx.previous / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(ctx.previous)
    return manifest.observation if manifest else None
