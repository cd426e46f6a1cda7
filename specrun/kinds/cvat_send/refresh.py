"""New labels for jobs that nobody has opened since theirs were sent.

A job is untouched while its state is `new`, its stage `annotation` and its date the one of our last write: opening it
changes the state, saving the date. What lies in it is then ours. Those labels are taken away by their ids, never by
emptying the job, so that what a person saves in the same moment stays. Between taking away and sending anew stands a
note in the ledger: a run that was killed there goes on with the second half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import frames_of, jobs_of
from specrun.clients.cvat.things import Job
from specrun.formats.cvat_api_write import LabelTarget
from specrun.kinds.cvat_send.ledger import Batch, Ledger, Phase, SentFrame
from specrun.kinds.cvat_send.prelabels import NONE_SENT, Prelabels
from specrun.model.labels import Sample
from specrun.model.work import Context

_SORTS = ("tags", "shapes")


@dataclass
class Differing:
    """How many frames that were sent would get other labels now, and what became of them."""

    frames: int = 0
    refreshed: int = 0
    touched: int = 0
    batches: list[Batch] = field(default_factory=list)


def differing(ledger: Ledger, samples: Mapping[str, Sample], prelabels: Prelabels) -> Differing:
    """Of finished batches. A frame whose labels are not known (a rebuilt ledger) is not counted."""
    found = Differing()
    for batch in ledger:
        frames = list(_changed(batch, samples, prelabels)) if batch.phase is Phase.DONE else []
        found.frames += len(frames)
        if frames or batch.replacing:
            found.batches.append(batch)
    return found


def _changed(batch: Batch, samples: Mapping[str, Sample], prelabels: Prelabels) -> Iterator[SentFrame]:
    if not batch.jobs:
        return
    for frame in batch.frames:
        sample = samples.get(frame.digest)
        if sample is None or frame.name in batch.failed:
            continue
        if prelabels.digest_of(sample) != batch.labels.get(frame.digest, NONE_SENT):
            yield frame


@dataclass(frozen=True)
class Refreshing:
    """project_targets: labels of the project as they are written."""

    api: Api
    ctx: Context
    ledger: Ledger
    samples: Mapping[str, Sample]
    prelabels: Prelabels
    targets: Mapping[str, LabelTarget]

    def batch(self, batch: Batch, found: Differing) -> None:
        """Replace the labels of its untouched jobs."""
        assert batch.task_id is not None
        changed = {frame.name for frame in _changed(batch, self.samples, self.prelabels)}
        jobs = [job for job in jobs_of(self.api, task_ids=[batch.task_id]) if job.type == "annotation"]
        if not jobs:
            return
        numbers = {frame.name: frame.number for frame in frames_of(self.api, batch.task_id).frames}
        overlapping = any(one.stop_frame >= other.start_frame for one, other in pairwise(jobs))
        untouched = [job for job in jobs if self._is_untouched(job, batch)]
        if overlapping and len(untouched) < len(jobs):
            untouched = []
        for job in jobs:
            mine = {name for name in changed if job.start_frame <= numbers.get(name, -1) <= job.stop_frame}
            if job in untouched and (mine or str(job.id) in batch.replacing):
                batch = self._replace(batch, job, numbers)
                found.refreshed += len(mine)
            elif mine:
                found.touched += len(mine)
                batch = self._forget(batch, job)

    def _is_untouched(self, job: Job, batch: Batch) -> bool:
        known = batch.jobs.get(str(job.id))
        begun = str(job.id) in batch.replacing
        return job.state == "new" and job.stage == "annotation" and (begun or job.updated == known)

    def _forget(self, batch: Batch, job: Job) -> Batch:
        """A job that was opened between the halves is people's."""
        if str(job.id) not in batch.replacing:
            return batch
        left = {key: ids for key, ids in batch.replacing.items() if key != str(job.id)}
        return self.ledger.update(batch, replacing=left)

    def _replace(self, batch: Batch, job: Job, numbers: Mapping[str, int]) -> Batch:
        self.ctx.check_stop()
        path = f"/api/jobs/{job.id}/annotations/"
        there = self.api.get(path)
        key = str(job.id)
        old = batch.replacing.get(key)
        ours = old is None or bool(_ids(there) & set(old))
        if ours or not _ids(there):
            fresh = Job.from_json(self.api.get(f"/api/jobs/{job.id}"))
            if fresh.state != "new" or fresh.updated != job.updated:
                return batch
            batch = self.ledger.update(batch, replacing={**batch.replacing, key: sorted(_ids(there) or old or ())})
            self._take_away(path, there)
            self._send(path, batch, job, numbers)
        given = self._digests(batch, job, numbers)
        date = Job.from_json(self.api.get(f"/api/jobs/{job.id}")).updated
        left = {other: ids for other, ids in batch.replacing.items() if other != key}
        kept = {digest: value for digest, value in batch.labels.items() if digest not in given}
        labels = {**kept, **{digest: value for digest, value in given.items() if value != NONE_SENT}}
        pairs = self._frames(batch, job, numbers)
        rows = {**batch.rows, **{sample.digest: self.prelabels.rows_digest(sample) for _, sample in pairs}}
        return self.ledger.update(batch, replacing=left, labels=labels, rows=rows, jobs={**batch.jobs, key: date})

    def _take_away(self, path: str, there: Mapping[str, Any]) -> None:
        if any(there[sort] for sort in _SORTS):
            body = {sort: there[sort] for sort in _SORTS} | {"tracks": []}
            self.api.patch(path, body, action="delete")

    def _send(self, path: str, batch: Batch, job: Job, numbers: Mapping[str, int]) -> None:
        writing = self.prelabels.writing()
        body: dict[str, list[Any]] = {"tags": [], "shapes": [], "tracks": []}
        for frame, sample in self._frames(batch, job, numbers):
            written = self.prelabels.shapes(sample, numbers[frame.name], self.targets, writing)
            body["tags"] += written["tags"]
            body["shapes"] += written["shapes"]
        if body["tags"] or body["shapes"]:
            self.api.patch(path, body, action="create")

    def _digests(self, batch: Batch, job: Job, numbers: Mapping[str, int]) -> dict[str, str]:
        pairs = self._frames(batch, job, numbers)
        return {sample.digest: self.prelabels.digest_of(sample) for _, sample in pairs}

    def _frames(self, batch: Batch, job: Job, numbers: Mapping[str, int]) -> Sequence[tuple[SentFrame, Sample]]:
        return [
            (frame, self.samples[frame.digest])
            for frame in batch.frames
            if frame.digest in self.samples
            and frame.name not in batch.failed
            and job.start_frame <= numbers.get(frame.name, -1) <= job.stop_frame
        ]


def _ids(there: Mapping[str, Any]) -> set[int]:
    return {int(thing["id"]) for sort in _SORTS for thing in there[sort]}
