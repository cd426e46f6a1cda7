"""New labels for jobs in which nobody has saved anything since theirs were sent.

A job is untouched while its state is `new`, its stage `annotation`, its date the one after our last write, and it
holds exactly what we made: the same ids with the same content, nothing besides, nothing missing. New labels are sent
before the old ones are taken away by their ids, so a kill in between leaves labels twice, which the next run ends, and
never an empty job. Opening a job in the browser changes nothing on the server: that somebody looks at it is seen
only once they save.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import frames_of, jobs_of
from specrun.clients.cvat.things import Job
from specrun.formats.cvat_api_write import LabelTarget
from specrun.kinds.cvat_send.ledger import Batch, Ledger, Phase, SentFrame
from specrun.kinds.cvat_send.ours import Contents, body_of, content_digest, defaults_of, read_contents
from specrun.kinds.cvat_send.prelabels import NONE_SENT, Prelabels
from specrun.kinds.cvat_send.shapes import LabelSending, Refusal
from specrun.model.labels import Sample
from specrun.model.work import Context


@dataclass
class Differing:
    """How many frames that were sent would get other labels now, and what became of them: images whose labels were
    replaced, and whose were not. notes: for people."""

    frames: int = 0
    done: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    batches: list[Batch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def refreshed(self) -> int:
        return len(self.done - self.kept)

    @property
    def touched(self) -> int:
        return len(self.kept)


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
    """targets: labels of the project as they are written. refused: what the server would not take."""

    api: Api
    ctx: Context
    ledger: Ledger
    samples: Mapping[str, Sample]
    prelabels: Prelabels
    targets: Mapping[str, LabelTarget]
    refused: list[Refusal] = field(default_factory=list)

    @property
    def defaults(self) -> Mapping[int, str]:
        return defaults_of(self.targets)

    def batch(self, batch: Batch, found: Differing) -> None:
        """Replace the labels of its untouched jobs."""
        task_id = batch.task_id
        assert task_id is not None
        jobs = [job for job in jobs_of(self.api, task_ids=[task_id]) if job.type == "annotation"]
        for job in [job for job in jobs if str(job.id) in batch.replacing]:
            batch = self._go_on(batch, job, found)
        numbers = {frame.name: frame.number for frame in frames_of(self.api, task_id).frames}
        changed = list(_changed(batch, self.samples, self.prelabels))
        mine = {job.id: [f for f in changed if _holds(job, numbers.get(f.name, -1))] for job in jobs}
        if any(mine.values()):
            fresh = {job.id: Job.from_json(self.api.get(f"/api/jobs/{job.id}")) for job in jobs}
            untouched = {job.id for job in jobs if self._is_untouched(fresh[job.id], batch)}
            # A frame that two jobs share has its labels in both.
            if any(one.stop_frame >= other.start_frame for one, other in pairwise(jobs)) and len(untouched) < len(jobs):
                untouched = set()
            for index, job in enumerate(jobs):
                if job.id in untouched and mine[job.id]:
                    later = {frame.digest for other in jobs[index + 1 :] for frame in mine[other.id]}
                    batch = self._replace(batch, job, mine[job.id], numbers, later, found)
                else:
                    found.kept |= {frame.digest for frame in mine[job.id]}

    def _is_untouched(self, job: Job, batch: Batch) -> bool:
        key = str(job.id)
        if job.state != "new" or job.stage != "annotation" or job.updated != batch.jobs.get(key):
            return False
        return read_contents(self.api, job.id, self.defaults).is_exactly(batch.ours.get(key, {}))

    def _replace(
        self,
        batch: Batch,
        job: Job,
        frames: Sequence[SentFrame],
        numbers: Mapping[str, int],
        later: set[str],
        found: Differing,
    ) -> Batch:
        """The labels of `frames` in one job. What is under way is remembered before each step. later: images that stand
        in another job too, which is still to come."""
        self.ctx.check_stop()
        key, ours = str(job.id), batch.ours.get(str(job.id), {})
        there = read_contents(self.api, job.id, self.defaults)
        if not there.is_exactly(ours):
            found.kept |= {frame.digest for frame in frames}
            return batch
        places = {numbers[frame.name]: frame.digest for frame in frames}
        settled = set(places.values()) - later
        things = self._written(frames, numbers)
        note: dict[str, Any] = {
            "old": {key: thing["frame"] for key, thing in there.things.items() if thing["frame"] in places},
            "new": [content_digest(thing, self.defaults) for thing in things],
            "made": {},
            "deleting": [],
            "frames": {str(number): digest for number, digest in places.items()},
            "labels": {digest: self.prelabels.digest_of(self.samples[digest]) for digest in settled},
            "rows": {digest: self.prelabels.rows_digest(self.samples[digest]) for digest in settled},
        }
        batch = self.ledger.update(batch, replacing={**batch.replacing, key: note})
        self._send(batch, job, things)
        return self._end(self.ledger[batch.id], job, found)

    def _written(self, frames: Sequence[SentFrame], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
        writing = self.prelabels.writing()
        things: list[dict[str, Any]] = []
        for frame in frames:
            written = self.prelabels.shapes(self.samples[frame.digest], numbers[frame.name], self.targets, writing)
            things += [*written["tags"], *written["shapes"]]
        return things

    def _send(self, batch: Batch, job: Job, things: Sequence[dict[str, Any]]) -> None:
        """What was made is in the ledger at the end."""
        sending = LabelSending(self.api, self.ctx, self.ledger, self.defaults)
        made = sending.create(job.id, things)
        self.refused.extend(sending.refused)
        there = read_contents(self.api, job.id, self.defaults) if made else Contents({}, {}, frozenset())
        self._remember_made(batch, job, made, there)

    def _remember_made(self, batch: Batch, job: Job, made: Mapping[str, str], there: Contents) -> Batch:
        key = str(job.id)
        placed = {one: there.things[one]["frame"] for one in made if one in there.things}
        note = {**batch.replacing[key], "made": placed}
        return self.ledger.update(batch, ours=batch.with_ours(job.id, made), replacing={**batch.replacing, key: note})

    def _go_on(self, batch: Batch, job: Job, found: Differing) -> Batch:
        """After a run that was killed: what it had sent is known by its content."""
        note, ours = batch.replacing[str(job.id)], batch.ours.get(str(job.id), {})
        if note["new"] and not note["made"]:
            there = read_contents(self.api, job.id, self.defaults)
            free = Counter(note["new"])
            made: dict[str, str] = {}
            for key, digest in there.digests.items():
                if key not in ours and free[digest]:
                    free[digest] -= 1
                    made[key] = digest
            if not made:
                return self._without_note(batch, job)
            batch = self._remember_made(batch, job, made, there)
        return self._end(batch, job, found)

    def _end(self, batch: Batch, job: Job, found: Differing) -> Batch:
        """Take the old labels away, on frames that somebody saved meanwhile the new ones."""
        key = str(job.id)
        note, ours = batch.replacing[key], batch.ours.get(key, {})
        there = read_contents(self.api, job.id, self.defaults)
        done: list[str] = []
        if note["deleting"] and not set(note["deleting"]) & set(there.things):
            done, gone = list(note["done"]), list(note["deleting"])
        else:
            gone, kept = list[str](), list[str]()
            for number, digest in note["frames"].items():
                chosen, replaced = _superfluous(int(number), note, ours, there)
                gone += chosen
                (done if replaced else kept).append(digest)
            found.notes += _twice(note, there, gone, job)
            note = {**note, "deleting": gone, "done": done}
            batch = self.ledger.update(batch, replacing={**batch.replacing, key: note})
            self._take_away(job, {one: there.things[one] for one in gone})
            found.kept |= set(kept)
        found.done |= set(done)
        return self._settled(batch, job, gone, done)

    def _take_away(self, job: Job, things: Mapping[str, Mapping[str, Any]]) -> None:
        if things:
            self.api.patch(f"/api/jobs/{job.id}/annotations/", body_of(things), action="delete")

    def _settled(self, batch: Batch, job: Job, gone: Sequence[str], done: Sequence[str]) -> Batch:
        key = str(job.id)
        note = batch.replacing[key]
        settled = [digest for digest in done if digest in note["labels"]]
        labels = {digest: value for digest, value in batch.labels.items() if digest not in settled}
        labels |= {digest: note["labels"][digest] for digest in settled if note["labels"][digest] != NONE_SENT}
        ours = {one: digest for one, digest in batch.ours.get(key, {}).items() if one not in set(gone)}
        date = Job.from_json(self.api.get(f"/api/jobs/{job.id}")).updated
        batch = self.ledger.update(
            batch,
            labels=labels,
            rows={**batch.rows, **{digest: note["rows"][digest] for digest in settled}},
            ours={**batch.ours, key: ours},
            jobs={**batch.jobs, key: date},
        )
        return self._without_note(batch, job)

    def _without_note(self, batch: Batch, job: Job) -> Batch:
        left = {key: note for key, note in batch.replacing.items() if key != str(job.id)}
        return self.ledger.update(batch, replacing=left)


def _holds(job: Job, number: int) -> bool:
    return job.start_frame <= number <= job.stop_frame


def _superfluous(
    frame: int, note: Mapping[str, Any], ours: Mapping[str, str], there: Contents
) -> tuple[list[str], bool]:
    """What of ours is to go from a frame that holds the old and the new labels, and whether the new ones stay.

    Only what is as we made it goes. A person who worked on one of the two sets keeps it.
    """
    old = [key for key, number in note["old"].items() if number == frame]
    new = [key for key, number in note["made"].items() if number == frame]
    old_whole = all(there.holds(key, ours.get(key)) for key in old)
    new_whole = all(there.holds(key, ours.get(key)) for key in new)
    foreign = frame in there.tracked or any(key not in ours for key in there.on(frame))
    if old_whole and (not foreign or not new_whole):
        return old, True
    if new_whole:
        return new, False
    return [], False


def _twice(note: Mapping[str, Any], there: Contents, gone: Sequence[str], job: Job) -> list[str]:
    left = {key for key in there.things if key not in set(gone)}
    both = {note["old"][key] for key in note["old"] if key in left}
    both &= {note["made"][key] for key in note["made"] if key in left}
    frames = ", ".join(map(str, sorted(both)))
    return [f"job {job.id}: labels stand twice on frame {frames}, since somebody saved both sets"] if both else []
