"""Files that the metrics of an epoch go to besides the run's journal, as `settings.tracking` says."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from specrun.training.smp.event_file import EventFile

Row = Mapping[str, float]
FILES = ("csv", "tensorboard")
"""Keys of `settings.tracking` that this module has to do with."""


class NoTracking:
    """In every process but the first."""

    def add(self, row: Row) -> None:
        pass

    def close(self) -> None:
        pass


class Tracking:
    """rows: of epochs before; files are written anew with them, so that no epoch stands twice."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], rows: Sequence[Row]) -> None:
        self._folder = folder
        self._rows = list(rows)
        self._csv = bool(settings.get("csv", True))
        self._events = EventFile(folder / "tensorboard") if settings.get("tensorboard", True) else None
        for row in rows:
            self._add_event(row)
        if self._csv and rows:
            write_csv(folder / "metrics.csv", self._rows)

    def add(self, row: Row) -> None:
        self._rows.append(row)
        self._add_event(row)
        if self._csv:
            write_csv(self._folder / "metrics.csv", self._rows)

    def _add_event(self, row: Row) -> None:
        if self._events is not None:
            finite = {key: value for key, value in row.items() if key != "epoch" and math.isfinite(value)}
            self._events.add(int(row["epoch"]), finite)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    partial = path.with_suffix(".part")
    with open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
