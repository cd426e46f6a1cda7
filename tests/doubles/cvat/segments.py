"""How the frames of a task are dealt out to its jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.doubles.cvat.state import Task


def segments(task: Task, size: int) -> Iterator[tuple[int, int]]:
    """(first, last) frame of each job; writes the real segment size and overlap into the task."""
    segment = task.segment_size if 0 < task.segment_size < size else size
    default = 5 if task.media is not None and task.media.mode == "interpolation" else 0
    overlap = min(default if task.overlap is None else task.overlap, segment // 2)
    task.segment_size, task.overlap = segment, overlap
    start = 0
    while start < size:
        stop = min(start + segment - 1, size - 1)
        yield start, stop
        if stop == size - 1:
            return
        start += segment - overlap
