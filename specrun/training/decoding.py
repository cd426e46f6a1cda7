"""Images read ahead in threads, in batches of one size, while the model works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import Sample
from specrun.training.predictor import OpenImage, ReadImage, check_size, refuse_other_size
from specrun.training.tiles import ReadWindow, Window

_Pixels = NDArray[np.uint8]


def decoded_batches(
    samples: Iterable[Sample], batch: int, read: ReadImage, threads: int, *, ahead: int
) -> Iterator[tuple[Sequence[Sample], list[_Pixels]]]:
    """ahead: batches that are decoded beside the one that was given out. None on a CPU: the model uses all cores,
    and its threads wait for each other, so that each one that gives way to a decoder holds up all (seen: 128-pixel
    tiles at half the speed)."""

    def load(members: Sequence[Sample]) -> list[_Pixels]:
        return [check_size(sample, read(sample.media)) for sample in members]

    waiting: deque[tuple[Sequence[Sample], list[Future[list[_Pixels]]]]] = deque()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            for members in batches_of_one_size(samples, batch):
                # One task a thread: handing small images over one by one takes as long as decoding them.
                share = -(-len(members) // max(1, threads))
                parts = [members[start : start + share] for start in range(0, len(members), share)]
                waiting.append((members, [pool.submit(load, part) for part in parts]))
                if len(waiting) > ahead:
                    yield _finished(waiting.popleft())
            while waiting:
                yield _finished(waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _finished(
    entry: tuple[Sequence[Sample], list[Future[list[_Pixels]]]],
) -> tuple[Sequence[Sample], list[_Pixels]]:
    members, futures = entry
    return members, [pixels for future in futures for pixels in future.result()]


def batches_of_one_size(samples: Iterable[Sample], batch: int) -> Iterator[Sequence[Sample]]:
    """Full batches first; what is left of each size comes at the end."""
    open_batches: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        members = open_batches.setdefault(sample.size_wh, [])
        members.append(sample)
        if len(members) == batch:
            yield open_batches.pop(sample.size_wh)
    yield from open_batches.values()


@contextmanager
def opened(sample: Sample, read: ReadImage, open_image: OpenImage | None) -> Iterator[ReadWindow]:
    """Windows of one image."""
    if open_image is not None:
        with open_image(sample.media) as (size_wh, read_window):
            refuse_other_size(sample, size_wh)
            yield read_window
        return
    pixels = check_size(sample, read(sample.media))

    def cut(window: Window) -> _Pixels:
        return pixels[window.top : window.top + window.height, window.left : window.left + window.width]

    yield cut
