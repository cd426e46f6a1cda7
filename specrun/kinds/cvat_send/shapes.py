"""Labels into a task: in portions of whole frames, each sent once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.clients.cvat import transfer
from specrun.clients.cvat.api import Api
from specrun.errors import TransientError
from specrun.formats.cvat_api_write import LabelTarget
from specrun.kinds.cvat_send.ledger import Batch, Ledger
from specrun.kinds.cvat_send.prelabels import NONE_SENT, Prelabels
from specrun.model.labels import Sample
from specrun.model.work import Context

MOST_NUMBERS = 200_000
"""In one portion: about 2 MB."""
ATTEMPTS = 3


@dataclass
class Portion:
    """The labels of the frames from `start` to `end`, the end not included. labels, rows: as a batch has them."""

    start: int
    end: int
    tags: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)


def portions(
    batch: Batch,
    numbers: Mapping[str, int],
    samples: Mapping[str, Sample],
    prelabels: Prelabels,
    targets: Mapping[str, LabelTarget],
) -> Iterator[Portion]:
    """From the first frame of the batch that has none. numbers: frame name → its number in the task."""
    writing = prelabels.writing()
    portion = Portion(batch.prelabelled, batch.prelabelled)
    weight = 0
    for index in range(batch.prelabelled, len(batch.frames)):
        frame = batch.frames[index]
        sample, number = samples.get(frame.digest), numbers.get(frame.name)
        portion.end = index + 1
        if sample is None or number is None or frame.name in batch.failed:
            continue
        written = prelabels.shapes(sample, number, targets, writing)
        portion.tags += written["tags"]
        portion.shapes += written["shapes"]
        portion.labels[frame.digest] = prelabels.digest_of(sample)
        portion.rows[frame.digest] = prelabels.rows_digest(sample)
        weight += sum(weight_of(shape) for shape in written["shapes"]) + len(written["tags"])
        if weight >= MOST_NUMBERS:
            yield portion
            portion, weight = Portion(index + 1, index + 1), 0
    if portion.end > portion.start:
        yield portion


def weight_of(shape: Mapping[str, Any]) -> int:
    """How many numbers its JSON holds, roughly."""
    return 10 + len(shape["points"]) + sum(weight_of(element) for element in shape.get("elements", ()))


def send_labels(
    api: Api, batch: Batch, all_portions: Iterator[Portion], ledger: Ledger, ctx: Context, *, resumed: bool
) -> Batch:
    """Each portion is in the ledger when it is in CVAT.

    A portion whose fate is unknown, after a kill or a lost answer, is compared with what the task holds: a frame
    with anything on it is left alone.
    """
    assert batch.task_id is not None
    taken = drawn_frames(transfer.annotations(api, batch.task_id)) if resumed else set()
    for portion in all_portions:
        ctx.check_stop()
        batch = _send_portion(api, batch, portion, ledger, taken)
        ctx.progress(portion.end, len(batch.frames), "images", f"labels of {batch.name}")
    return batch


def _send_portion(api: Api, batch: Batch, portion: Portion, ledger: Ledger, taken: set[int]) -> Batch:
    """taken: frames that hold something already."""
    assert batch.task_id is not None
    for attempt in range(1, ATTEMPTS + 1):
        tags = [tag for tag in portion.tags if tag["frame"] not in taken]
        shapes = [shape for shape in portion.shapes if shape["frame"] not in taken]
        try:
            if tags or shapes:
                body = {"tags": tags, "shapes": shapes, "tracks": []}
                api.patch(f"/api/tasks/{batch.task_id}/annotations/", body, action="create")
            break
        except TransientError:
            if attempt == ATTEMPTS:
                raise
            taken = drawn_frames(transfer.annotations(api, batch.task_id))
    labels = {digest: given for digest, given in portion.labels.items() if given != NONE_SENT}
    rows = {**batch.rows, **portion.rows}
    return ledger.update(batch, prelabelled=portion.end, labels={**batch.labels, **labels}, rows=rows)


def drawn_frames(found: Mapping[str, Any]) -> set[int]:
    """Frames with anything on them, by people or by us."""
    taken = {thing["frame"] for sort in ("tags", "shapes") for thing in found[sort]}
    return taken | {shape["frame"] for track in found["tracks"] for shape in track["shapes"]}
