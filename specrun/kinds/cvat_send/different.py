"""The images that differ most from those that people have already: by colours and their rough place, without a model.

Each image is looked at as 16×16 pixels. The next one is always that whose nearest neighbour among those sent and
chosen is farthest. Source: Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from specrun.kinds.cvat_send.planning import chance
from specrun.model.labels import Sample

Looks = NDArray[np.float32]
"""(768,), red, green and blue in [0, 1]."""
_SMALL_WH = (16, 16)


def most_different(
    samples: Sequence[Sample], looks: Mapping[str, Looks], sent: Collection[str], count: int, seed: int
) -> list[Sample]:
    """Samples in the order in which they are wanted: those sent, `count` that differ most, the others by chance.

    looks: by content; what cannot be read has none, and comes last. Without any sent one, the first is that nearest
    to the mean of all. seed: decides between equals.
    """
    ordered = sorted(samples, key=lambda sample: chance(sample, seed))
    seen = {sample.digest: sample for sample in ordered if sample.digest in looks}
    known, unknown = list(seen), [sample for sample in ordered if sample.digest not in looks]
    before = [digest for digest in known if digest in sent]
    chosen = before + _farthest(known, looks, before, count)
    left = [sample for sample in ordered if sample.digest in seen and sample.digest not in set(chosen)]
    return [*(seen[digest] for digest in chosen), *left, *unknown]


def _farthest(known: Sequence[str], looks: Mapping[str, Looks], before: Sequence[str], count: int) -> list[str]:
    if not known:
        return []
    pixels = np.stack([looks[digest] for digest in known])
    places = {digest: place for place, digest in enumerate(known)}
    nearest = np.full(len(known), np.inf, dtype=np.float32)
    for digest in before:
        nearest = np.minimum(nearest, _distances(pixels, pixels[places[digest]]))
    chosen: list[str] = []
    for _ in range(min(count, len(known) - len(before))):
        first = not before and not chosen
        place = int(np.argmin(_distances(pixels, pixels.mean(axis=0)))) if first else int(np.argmax(nearest))
        chosen.append(known[place])
        nearest = np.minimum(nearest, _distances(pixels, pixels[place]))
        nearest[[places[digest] for digest in (*before, *chosen)]] = -1.0
    return chosen


def _distances(pixels: NDArray[np.float32], one: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.linalg.norm(pixels - one, axis=1)
    return found


def looks_of(
    samples: Sequence[Sample], threads: int, check_stop: Callable[[], None], progress: Callable[[int], None]
) -> dict[str, Looks]:
    """By content, of those that can be read."""

    def look(sample: Sample) -> Looks | None:
        check_stop()
        return _look(sample)

    unique = list({sample.digest: sample for sample in samples}.values())
    found = {}
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for done, (sample, seen) in enumerate(zip(unique, pool.map(look, unique), strict=True), start=1):
            progress(done)
            if seen is not None:
                found[sample.digest] = seen
    return found


def _look(sample: Sample) -> Looks | None:
    try:
        with Image.open(sample.media) as image:
            image.draft("RGB", (_SMALL_WH[0] * 4, _SMALL_WH[1] * 4))  # a JPEG is decoded at an eighth where it can be
            small = ImageOps.exif_transpose(image).convert("RGB").resize(_SMALL_WH, Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError):
        return None
    pixels: Looks = np.asarray(small, dtype=np.float32).ravel() / np.float32(255)
    return pixels
