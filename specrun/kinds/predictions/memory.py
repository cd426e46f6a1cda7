"""Labels that need not be predicted again: by content of the image, from last time or from before a kill.

<staging>/predicted.jsonl     appended while predicting: {"digest": …, "labels": […]}; removed at the end
<output>/predictions.jsonl    of last time, in the codec of samples
settings.json                 beside both: {"key": …}; another key means that nothing is known
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from specrun.formats.samples import label_from_json, label_to_json
from specrun.model.labels import AnyLabel, Sample

_RECORD_NAME = "predicted.jsonl"
_SETTINGS_NAME = "settings.json"
PREDICTIONS_NAME = "predictions.jsonl"


class PredictionMemory:
    """Keeps labels as the text of their JSON: bitmaps of a hundred thousand images would not fit."""

    def __init__(self, staging: Path, previous: Path | None, project_dir: Path, key: str) -> None:
        self._staging = staging
        self._known: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._covered: set[str] = set()
        if previous is not None:
            rows = list(_rows(previous / PREDICTIONS_NAME))
            self._covered = {row["key"] for row in rows if "key" in row}
            if _key_of(previous) == key:
                self._remember(rows)
        if _key_of(staging) == key:
            self._remember(_rows(staging / _RECORD_NAME))
        else:
            (staging / _RECORD_NAME).unlink(missing_ok=True)
            (staging / _SETTINGS_NAME).write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")

    def knows(self, sample: Sample) -> bool:
        return sample.digest in self._known

    def labels_text(self, sample: Sample) -> str:
        """JSON of the list."""
        return self._known[sample.digest][0]

    def names(self, sample: Sample) -> tuple[str, ...]:
        """The class of each label."""
        return self._known[sample.digest][1]

    def labels(self, sample: Sample) -> tuple[AnyLabel, ...]:
        return tuple(label_from_json(label) for label in json.loads(self.labels_text(sample)))

    def classes_of(self, samples: Sequence[Sample]) -> set[str]:
        return {name for sample in samples for name in self.names(sample)}

    def covered_before(self) -> set[str]:
        """Keys of the samples that the last output covered."""
        return self._covered

    @contextmanager
    def recording(self) -> Iterator[Callable[[Sample, Sequence[AnyLabel]], None]]:
        """What is recorded survives a kill."""
        with open(self._staging / _RECORD_NAME, "a", encoding="ascii") as file:

            def record(sample: Sample, labels: Sequence[AnyLabel]) -> None:
                text = _compact([label_to_json(label) for label in labels])
                self._known[sample.digest] = text, tuple(label.label for label in labels)
                file.write(f'{{"digest":{json.dumps(sample.digest)},"labels":{text}}}\n')

            yield record

    def forget(self) -> None:
        """The record is no part of the output."""
        (self._staging / _RECORD_NAME).unlink(missing_ok=True)

    def _remember(self, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
        for row in rows:
            labels = row.get("labels", [])
            self._known[row["digest"]] = _compact(labels), tuple(sys.intern(label["label"]) for label in labels)


def _compact(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, separators=(",", ":"), allow_nan=False)


def _key_of(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _SETTINGS_NAME).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines: the last one may have been cut off."""
    if not path.is_file() or not os.path.getsize(path):
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                row = json.loads(line)
                row["digest"]
            except (ValueError, KeyError, TypeError):
                return
            yield row
