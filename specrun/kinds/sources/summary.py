"""What a source's samples come to: facts for people and consumers, digests for consumers that read a part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from specrun.model.digest import Json, files_digest, json_digest

if TYPE_CHECKING:
    from specrun.model.labels import Sample


@dataclass
class Summary:
    """Fills while samples pass through `count`."""

    images: int = 0
    annotated: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    _media: list[tuple[str, str]] = field(default_factory=list)
    _labels: list[tuple[str, str]] = field(default_factory=list)

    def count(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            self._add(sample)
            yield sample

    def facts(self, classes: Iterable[str]) -> dict[str, Json]:
        """classes: in the order of the source; each has its number of labels, 0 included."""
        ordered = list(classes)
        return {
            "images": self.images,
            "annotated": self.annotated,
            "labels": {name: self.labels[name] for name in ordered},
            "classes": [*ordered],
            "splits": dict(sorted(self.splits.items())),
            "shapes": dict(sorted(self.shapes.items())),
        }

    def parts(self, classes: Iterable[str]) -> dict[str, str]:
        """media: keys, names and contents. labels: labels, splits, tags, fields and the order of classes."""
        labels = json_digest({"samples": files_digest(self._labels), "classes": list(classes)})
        return {"media": files_digest(self._media), "labels": labels}

    def _add(self, sample: Sample) -> None:
        # numpy comes with the codec, and planning imports this module.
        from specrun.formats.samples import label_to_json

        self.images += 1
        self.annotated += sample.annotated
        if sample.split:
            self.splits[sample.split] += 1
        self.labels.update(label.label for label in sample.labels)
        self.shapes.update(type(label).__name__.lower() for label in sample.labels)
        self._media.append((sample.key, f"{sample.name}\0{sample.digest}"))
        described = {
            "split": sample.split,
            "tags": list(sample.tags),
            "annotated": sample.annotated,
            "fields": dict(sample.fields),
            "labels": [label_to_json(label) for label in sample.labels],
        }
        self._labels.append((sample.key, json_digest(described)))
