"""What a captioned dataset looks like: sizes, aspect ratios, lengths, words, near-duplicates.

Imported by workers only.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from specrun.errors import FormatError
from specrun.formats.images import read_upright_rgb
from specrun.kinds.captions.providers import Pictured

HASHED = 5_000
"""Images that are compared with each other; of more, these are taken evenly."""
NEAR = 4
"""Bits of 64 in which near-duplicates may differ."""
NEAR_COLOR = 8
"""Levels of 256 in which their mean colours may differ."""
TINY = 64
"""Pixels of the short side below which an image is told of."""
_SHOWN = 20
_WORD = re.compile(r"[^\W\d_][\w'’-]+")
_COMMON = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have"}
    | {"in", "into", "is", "it", "its", "of", "on", "or", "over", "that", "the", "their"}
    | {"there", "this", "to", "under", "up", "was", "were", "which", "while", "with"}
)
_RATIOS = ((9, 21), (9, 16), (2, 3), (3, 4), (4, 5), (1, 1), (5, 4), (4, 3), (3, 2), (16, 9), (21, 9))


def size_facts(sizes_wh: Iterable[tuple[int, int]]) -> dict[str, Any]:
    """sizes: the most frequent ones; aspect_ratios: by the nearest common ratio; tiny: how many are too small."""
    sizes = Counter(sizes_wh)
    ratios: Counter[str] = Counter()
    for (width, height), count in sizes.items():
        ratios[nearest_ratio(width, height)] += count
    return {
        "sizes": {f"{w}×{h}": count for (w, h), count in sizes.most_common(_SHOWN)},
        "aspect_ratios": dict(ratios.most_common()),
        "tiny": sum(count for size, count in sizes.items() if min(size) < TINY),
    }


def nearest_ratio(width: int, height: int) -> str:
    shape = math.log(max(1, width) / max(1, height))
    best = min(_RATIOS, key=lambda ratio: abs(math.log(ratio[0] / ratio[1]) - shape))
    return f"{best[0]}:{best[1]}"


def length_facts(lengths: Sequence[int], window: int) -> dict[str, Any]:
    """In tokens. cut: how many captions a text encoder with this window would not see wholly."""
    if not lengths:
        return {}
    return {
        "shortest": min(lengths),
        "median": median(lengths),
        "longest": max(lengths),
        "window": window,
        "cut": sum(length > window for length in lengths),
    }


def frequent_words(captions: Iterable[str], most: int = _SHOWN) -> dict[str, int]:
    """In how many captions each word stands, without the commonest English ones."""
    words: Counter[str] = Counter()
    for caption in captions:
        words.update({word.lower() for word in _WORD.findall(caption)} - _COMMON)
    return dict(sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


def near_duplicates(
    images: Sequence[Pictured], cache_dir: Path, tell: Callable[[int, int], None]
) -> tuple[int, list[tuple[str, str]]]:
    """How many images resemble an earlier one, and examples by name. tell: images hashed, of how many."""
    chosen = [images[round(i)] for i in np.linspace(0, len(images) - 1, HASHED)] if len(images) > HASHED else images
    known = _PictureLooks(cache_dir)
    looks: list[PictureLook] = []
    names: list[str] = []
    for done, image in enumerate(chosen, start=1):
        tell(done, len(chosen))
        found = known.of(image)
        if found is not None:
            looks.append(found)
            names.append(image.name)
    known.save()
    pairs = similar_pairs(looks)
    return len(pairs), [(names[first], names[second]) for first, second in pairs[:3]]


PictureLook = tuple[int, int, int, int]
"""64 bits of steps in brightness, and the mean of red, green and blue."""


def similar_pairs(looks: Sequence[PictureLook]) -> list[tuple[int, int]]:
    """For each picture the first earlier one whose steps differ in at most NEAR bits and whose mean colour hardly
    differs, if there is one."""
    steps = np.array([look[0] for look in looks], dtype=np.uint64)
    means = np.array([look[1:] for look in looks], dtype=np.int16).reshape(-1, 3)
    pairs = []
    for place in range(1, len(looks)):
        same = np.bitwise_count(steps[:place] ^ steps[place]) <= NEAR
        same &= (np.abs(means[:place] - means[place]) <= NEAR_COLOR).all(axis=1)
        near = np.flatnonzero(same)
        if len(near):
            pairs.append((int(near[0]), place))
    return pairs


def picture_look(picture: NDArray[np.uint8]) -> PictureLook:
    """steps: whether each of 8 × 8 cells is brighter than its right neighbour. picture: (height, width, 3) RGB."""
    image = Image.fromarray(picture)
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = small[:, :-1] > small[:, 1:] + 1  # one level of noise is no step
    red, green, blue = (int(value) for value in np.asarray(image.resize((1, 1), Image.Resampling.BOX))[0, 0])
    return int.from_bytes(np.packbits(bits).tobytes(), "big"), red, green, blue


class _PictureLooks:
    """By content of the image, kept in the project's cache."""

    def __init__(self, cache_dir: Path) -> None:
        self._path = cache_dir / "picture_looks.json"
        self._known: dict[str, PictureLook] = {}
        self._new = False
        try:
            known = json.loads(self._path.read_bytes())
            self._known = {str(digest): _look_of(value) for digest, value in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            pass

    def of(self, image: Pictured) -> PictureLook | None:
        """None: it cannot be read."""
        if image.digest not in self._known:
            try:
                self._known[image.digest] = picture_look(read_upright_rgb(image.media))
            except FormatError:
                return None
            self._new = True
        return self._known[image.digest]

    def save(self) -> None:
        if self._new:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps(self._known))
            part.replace(self._path)


def _look_of(value: Any) -> PictureLook:
    steps, red, green, blue = map(int, value)
    return steps, red, green, blue


def statistic_notes(facts: Mapping[str, Any], least_ratio: float, images: int) -> list[str]:
    """What of the numbers a person should know. facts: as `caption_facts` makes them."""
    notes = []
    captioned = int(facts["captioned"])
    if captioned < least_ratio * images:
        notes.append(f"only {captioned} of {images} images have a caption (require.min_caption_ratio: {least_ratio:g})")
    lengths = facts.get("tokens") or {}
    if lengths.get("cut"):
        notes.append(
            f"{_captions(lengths['cut'])} longer than the {lengths['window']} tokens that the text encoder sees: "
            "the rest is not learnt"
        )
    if facts.get("tiny"):
        count = facts["tiny"]
        told = f"{count} {'image is' if count == 1 else 'images are'} smaller than {TINY} pixels"
        notes.append(f"{told}: nothing is enlarged, so they teach little; leave them out, or take larger ones")
    duplicates = facts.get("near_duplicates") or {}
    if duplicates.get("images"):
        shown = "; ".join(f"{second} like {first}" for first, second in duplicates["examples"])
        count = duplicates["images"]
        more = f"; and {count - len(duplicates['examples'])} more" if count > len(duplicates["examples"]) else ""
        told = f"{count} {'image looks' if count == 1 else 'images look'} nearly like another: {shown}{more}"
        notes.append(f"{told}. What comes often is learnt most: take frames further apart, or leave some out")
    return notes


def _captions(count: int) -> str:
    return "1 caption is" if count == 1 else f"{count} captions are"
