"""What a format could not hold, counted, as sentences for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_PLURALS = {"box": "boxes", "class": "classes", "turned box": "turned boxes"}
_SINGULAR = {"are": "is", "were": "was", "have": "has", "lie": "lies", "their": "its"}


def literal(text: str) -> str:
    """Other people's text, to be put into a sentence of `Tally.add`."""
    return text.replace("{", "{{").replace("}", "}}")


class Tally:
    """Counts by (noun, sentence): `tally.add("polyline", "{are} not part of YOLO segment")`.

    The noun is singular; a verb in braces is plural and is bent to the count.
    """

    def __init__(self, counts: Iterable[tuple[tuple[str, str], int]] = ()) -> None:
        self.counts: Counter[tuple[str, str]] = Counter(dict(counts))

    def add(self, noun: str, sentence: str, count: int = 1) -> None:
        if count:
            self.counts[noun, sentence] += count

    def notes(self) -> tuple[str, ...]:
        """`12 polylines are not part of YOLO segment`, in a fixed order."""
        return tuple(_sentence(noun, sentence, count) for (noun, sentence), count in sorted(self.counts.items()))


def _sentence(noun: str, sentence: str, count: int) -> str:
    if count == 1:
        return f"1 {noun} " + sentence.format(**_SINGULAR)
    return f"{count:,} {_PLURALS.get(noun, noun + 's')} " + sentence.format(**{plural: plural for plural in _SINGULAR})
