"""Labels into the jobs of a task: in portions of whole frames, each sent once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from specrun.clients.cvat.answers import Refused
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.things import Job
from specrun.errors import TransientError
from specrun.formats.cvat_api_write import LabelTarget
from specrun.kinds.cvat_send.ledger import Batch, Ledger, SentFrame
from specrun.kinds.cvat_send.ours import Contents, Thing, content_digest, keyed, read_contents, still_to_send
from specrun.kinds.cvat_send.prelabels import NONE_SENT, Prelabels
from specrun.model.labels import Sample
from specrun.model.work import Context

MOST_NUMBERS = 200_000
"""In one portion: about 2 MB."""
ATTEMPTS = 3


@dataclass
class Portion:
    """The labels of some frames of a job: those from `start` to `end`, the end not included, counted over the frames
    of all jobs. labels, rows: as a batch has them."""

    job: int
    start: int
    end: int
    tags: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)


def frames_of_jobs(batch: Batch, jobs: Sequence[Job], numbers: Mapping[str, int]) -> list[tuple[Job, SentFrame]]:
    """Job by job; a frame that two jobs share comes twice. numbers: frame name → its number in the task."""
    return [
        (job, frame)
        for job in jobs
        for frame in batch.frames
        if job.start_frame <= numbers.get(frame.name, -1) <= job.stop_frame
    ]


def portions(
    batch: Batch,
    pairs: Sequence[tuple[Job, SentFrame]],
    numbers: Mapping[str, int],
    samples: Mapping[str, Sample],
    prelabels: Prelabels,
    targets: Mapping[str, LabelTarget],
) -> Iterator[Portion]:
    """From the first of `pairs` that has none."""
    writing = prelabels.writing()
    portion: Portion | None = None
    weight = 0
    for index in range(batch.prelabelled, len(pairs)):
        job, frame = pairs[index]
        if portion is not None and (portion.job != job.id or weight >= MOST_NUMBERS):
            yield portion
            portion = None
        if portion is None:
            portion, weight = Portion(job.id, index, index), 0
        portion.end = index + 1
        sample = samples.get(frame.digest)
        if sample is None or frame.name in batch.failed:
            continue
        written = prelabels.shapes(sample, numbers[frame.name], targets, writing)
        portion.tags += written["tags"]
        portion.shapes += written["shapes"]
        portion.labels[frame.digest] = prelabels.digest_of(sample)
        portion.rows[frame.digest] = prelabels.rows_digest(sample)
        weight += sum(weight_of(shape) for shape in written["shapes"]) + len(written["tags"])
    if portion is not None:
        yield portion


def weight_of(shape: Mapping[str, Any]) -> int:
    """How many numbers its JSON holds, roughly."""
    return 10 + len(shape["points"]) + sum(weight_of(element) for element in shape.get("elements", ()))


@dataclass(frozen=True)
class Refusal:
    """A label that the server would not take, with its words."""

    frame: int
    label_id: int
    words: str


@dataclass
class LabelSending:
    """Into one task. defaults: of the labels' attributes. refused: what the server would not take."""

    api: Api
    ctx: Context
    ledger: Ledger
    defaults: Mapping[int, str]
    refused: list[Refusal] = field(default_factory=list)

    def send(self, batch: Batch, all_portions: Iterator[Portion], total: int) -> Batch:
        """Each portion is in the ledger, with the ids that it got, when it is in CVAT.

        Every job is looked at first: another copy may be at the same work, and an earlier run may have been killed
        with a portion on its way. A frame with anything of somebody else is left alone.
        """
        job, there = -1, Contents({}, {}, frozenset())
        for portion in all_portions:
            self.ctx.check_stop()
            if portion.job != job:
                job, there = portion.job, read_contents(self.api, portion.job, self.defaults)
            batch = self._portion(batch, portion, there)
            self.ctx.progress(portion.end, total, "images", f"labels of {batch.name}")
        return batch

    def _portion(self, batch: Batch, portion: Portion, there: Contents) -> Batch:
        refused = len(self.refused)
        for attempt in range(1, ATTEMPTS + 1):
            left, ours = still_to_send([*portion.tags, *portion.shapes], there, self.defaults)
            try:
                ours |= self.create(portion.job, left)
                break
            except TransientError:
                if attempt == ATTEMPTS:
                    raise
                del self.refused[refused:]
                there = read_contents(self.api, portion.job, self.defaults)
        labels = {digest: given for digest, given in portion.labels.items() if given != NONE_SENT}
        return self.ledger.update(
            batch,
            prelabelled=portion.end,
            labels={**batch.labels, **labels},
            rows={**batch.rows, **portion.rows},
            ours=batch.with_ours(portion.job, ours),
        )

    def create(self, job_id: int, things: Sequence[Thing]) -> dict[str, str]:
        """Key → content of what the server made. What it will not take is found by halves, and the rest is made."""
        if not things:
            return {}
        body: dict[str, list[Thing]] = {"tags": [], "shapes": [], "tracks": []}
        for thing in things:
            body["shapes" if "type" in thing else "tags"].append(thing)
        try:
            told = self.api.patch(f"/api/jobs/{job_id}/annotations/", body, action="create") or {}
        except Refused as refused:
            if refused.status != 400:
                raise
            if len(things) == 1:
                thing = things[0]
                self.refused.append(Refusal(int(thing["frame"]), int(thing["label_id"]), refused.message))
                return {}
            middle = len(things) // 2
            return self.create(job_id, things[:middle]) | self.create(job_id, things[middle:])
        return {key: content_digest(thing, self.defaults) for key, thing in keyed(told)}
