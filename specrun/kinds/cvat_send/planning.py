"""The plan of work: images that are there and frames that were sent → what is still to be made. Pure."""

from __future__ import annotations

import hashlib
import html
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from specrun.kinds.cvat_send.ledger import Batch, Ledger, Marker, Phase, SentFrame, batch_id

if TYPE_CHECKING:
    from specrun.clients.cvat.things import Frame
    from specrun.model.labels import Sample

SPLIT_ORDER = ("train", "val", "test")
_NAME_DIGITS = 6
_LONGEST_NAME = 240
"""Bytes: a file system takes 255, and CVAT may add to it."""
_UNSAFE = str.maketrans(dict.fromkeys('\\/"<>|*?:;%\r\n\t\x00', "_"))


@dataclass(frozen=True)
class Naming:
    """name, subset: the templates of `tasks`. source: what {source} stands for."""

    name: str
    subset: str
    source: str

    def subset_of(self, split: str | None) -> str:
        return self.subset.format(split=split or "", source=self.source)[:64]

    def name_of(self, split: str | None, number: int) -> str:
        subset = self.subset_of(split)
        name = self.name.format(subset=subset, split=split or "", batch=number, source=self.source)
        return name.strip("_- ")[:256] or f"{self.source} {number}"


@dataclass(frozen=True)
class Work:
    """unfinished: batches whose task is not done. new: to be made after them. known: images sent before.
    copies: images that are others' copies, which go in once."""

    unfinished: tuple[Batch, ...]
    new: tuple[Batch, ...]
    known: int
    copies: int


def frame_names(samples: Sequence[Sample]) -> dict[str, str]:
    """Image → its name in CVAT: the file's own, or `stem~digest.jpg` where several have it.

    CVAT keeps the base name alone, and two of one name in a task are a server error.
    """
    plain = {sample.digest: _base_name(sample) for sample in samples}
    shared = Counter(name.casefold() for name in plain.values())
    return {
        digest: name if shared[name.casefold()] == 1 else _with_digest(name, digest) for digest, name in plain.items()
    }


def _base_name(sample: Sample) -> str:
    """CVAT decodes HTML entities in a name, cuts at slashes and backslashes and drops what cannot be printed."""
    name = html.unescape(PurePosixPath(sample.name).name).translate(_UNSAFE)
    name = "".join(character if character.isprintable() else "_" for character in name)
    suffix = sample.media.suffix
    return name if name.lower().endswith(suffix.lower()) else name + suffix


def _with_digest(name: str, digest: str) -> str:
    stem, dot, suffix = name.rpartition(".") if "." in name else (name, "", "")
    ending = f"~{digest.rpartition(':')[2][:_NAME_DIGITS]}{dot}{suffix}"
    return _cut(stem, _LONGEST_NAME - len(ending.encode())) + ending


def _cut(text: str, most_bytes: int) -> str:
    return text.encode()[: max(most_bytes, 0)].decode(errors="ignore")


def plan_work(samples: Sequence[Sample], ledger: Ledger, naming: Naming, size: int, limit: int | None = None) -> Work:
    """samples: in the order in which they are wanted. limit: images in CVAT at most, those sent before included.

    An image is known by its content, so a renamed file is not sent again.
    """
    sent = ledger.sent()
    unique: dict[str, Sample] = {}
    for sample in samples:
        unique.setdefault(sample.digest, sample)
    unsent = [sample for digest, sample in unique.items() if digest not in sent]
    if limit is not None:
        unsent = unsent[: max(limit - len(sent), 0)]
    names = frame_names(list(unique.values()))
    return Work(
        unfinished=tuple(batch for batch in ledger if batch.phase is not Phase.DONE),
        new=tuple(_batches(unsent, names, ledger, naming, size)),
        known=len(unique) - len([digest for digest in unique if digest not in sent]),
        copies=len(samples) - len(unique),
    )


def _batches(
    unsent: Sequence[Sample], names: Mapping[str, str], ledger: Ledger, naming: Naming, size: int
) -> Iterable[Batch]:
    for split in sorted({sample.split for sample in unsent}, key=_split_rank):
        mine = sorted((sample for sample in unsent if sample.split == split), key=lambda sample: sample.key)
        subset = naming.subset_of(split)
        before = ledger.count(subset)
        for number, start in enumerate(range(0, len(mine), size), start=before + 1):
            chosen = mine[start : start + size]
            yield Batch(
                id=batch_id([sample.digest for sample in chosen]),
                name=naming.name_of(split, number),
                subset=subset,
                split=split,
                frames=tuple(SentFrame(sample.digest, names[sample.digest], sample.key) for sample in chosen),
            )


def _split_rank(split: str | None) -> tuple[int, str]:
    return (SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER), split or "")


def choose(
    samples: Sequence[Sample],
    strategy: Literal["uncertain", "random"],
    seed: int,
    confidence: Mapping[str, float | None],
) -> list[Sample]:
    """Samples in the order in which they are wanted. confidence: image → the mean of its labels, None without any.

    Each image has a rank of its own, so that images that come later do not change the order of the others.
    """

    if strategy == "random":
        return sorted(samples, key=lambda sample: chance(sample, seed))

    def rank(sample: Sample) -> tuple[bool, float, str]:
        mean = confidence.get(sample.digest)
        return (mean is None, 0.0 if mean is None else mean, chance(sample, seed))

    return sorted(samples, key=rank)


def chance(sample: Sample, seed: int) -> str:
    """A rank of its own for each content, the same on every machine."""
    return hashlib.sha256(f"{seed} {sample.digest}".encode()).hexdigest()


def rebuilt_batch(
    task_id: int, name: str, subset: str, marker: Marker, frames: Sequence[Frame], samples: Sequence[Sample]
) -> Batch:
    """A task that was found by its marker, as the ledger would have it. frames: in order.

    An image is taken for sent when it has the name and size of a frame; a frame without an image stays without
    a digest. The images are those of the task for certain when their contents give the batch's id.
    """
    named = _by_every_name(samples)
    fitting = [
        [sample for sample in named.get(frame.name, ()) if sample.size_wh == (frame.width, frame.height)]
        for frame in frames
    ]
    found = _as_made(fitting, marker.batch)
    splits = {sample.split for sample in found if sample is not None}
    return Batch(
        id=marker.batch,
        name=name,
        subset=subset,
        split=splits.pop() if len(splits) == 1 else None,
        task_id=task_id,
        phase=Phase.LOADED if marker.making else Phase.DONE,
        frames=tuple(
            SentFrame(sample.digest if sample else "", frame.name, sample.key if sample else "")
            for frame, sample in zip(frames, found, strict=True)
        ),
    )


_MOST_GUESSES = 1 << 10


def _by_every_name(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Frame name → images that may have been called so, also when a base name was not shared yet."""
    found: dict[str, list[Sample]] = {}
    unique: dict[str, Sample] = {}
    for sample in samples:
        unique.setdefault(sample.digest, sample)
    for sample in unique.values():
        base = _base_name(sample)
        for name in (base, _with_digest(base, sample.digest)):
            found.setdefault(name, []).append(sample)
    return found


def _as_made(fitting: Sequence[Sequence[Sample]], id: str) -> list[Sample | None]:
    """One image for each frame; of several the one with which the batch is what its id says."""
    first: list[Sample | None] = [found[0] if found else None for found in fitting]
    if not all(fitting) or math.prod(map(len, fitting)) > _MOST_GUESSES:
        return first
    guesses = (guess for guess in product(*fitting) if batch_id([sample.digest for sample in guess]) == id)
    return list(next(guesses, first))
