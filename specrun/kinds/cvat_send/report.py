"""What is told of a run that sent something to CVAT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from specrun.clients.cvat.things import LabelDef
from specrun.kinds.cvat_send.ledger import Batch
from specrun.kinds.cvat_send.prelabels import Prelabels
from specrun.kinds.cvat_send.refresh import Differing
from specrun.kinds.cvat_send.shapes import Refusal

SUMMARY_NAME = "summary.json"


@dataclass
class Report:
    """What is told of a run. chosen: of the records, where only some are wanted. failed: (name, reason).
    passing: notes that say what this run did, and that no plan repeats."""

    records: int = 0
    chosen: int | None = None
    uploaded: int = 0
    labels_sent: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passing: list[str] = field(default_factory=list)


def notes_of(report: Report, gone: Sequence[Batch], prelabels: Prelabels | None, found: Differing) -> list[str]:
    notes = [f"{name}: {reason}" for name, reason in report.failed[:10]]
    if len(report.failed) > 10:
        notes.append(f"{counted(len(report.failed) - 10, 'more image')} failed: {SUMMARY_NAME} tells which")
    for batch in gone:
        images = f"{counted(len(batch.frames), 'image')} {'counts' if len(batch.frames) == 1 else 'count'}"
        notes.append(f"task {batch.task_id} ({batch.name}) is gone from CVAT; its {images} as sent")
    if prelabels is not None:
        notes += prelabels.lost.notes()
        if found.frames and prelabels.spec.refresh == "never":
            notes.append(f"{counted(found.frames, 'frame')} sent before would get other labels now; sent is sent")
        elif found.frames:
            notes.append(
                f"{counted(found.refreshed, 'frame')} got new labels, "
                f"{counted(found.touched, 'frame')} kept theirs, since somebody has saved in the job or has it"
            )
        notes += found.notes
    return notes


def refusals(
    batch: Batch, refused: Sequence[Refusal], numbers: Mapping[str, int], labels: Sequence[LabelDef]
) -> list[str]:
    names = {number: name for name, number in numbers.items()}
    called = {label.id: label.name for label in labels}
    lines = [
        f'{names.get(one.frame, one.frame)}: CVAT took no "{called.get(one.label_id, one.label_id)}" ({one.words})'
        for one in refused[:10]
    ]
    more = len(refused) - len(lines)
    if more:
        lines.append(f"{counted(more, 'more label')} of {batch.name} {'was' if more == 1 else 'were'} refused")
    return lines


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
