"""Where the metrics of an epoch go besides the run's journal, as `settings.tracking` says."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from specrun.errors import MissingDependency
from specrun.training.smp.event_file import EventFile

Row = Mapping[str, float]


class Tracking:
    """rows: of epochs before; files are written anew with them, so that no epoch stands twice."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], rows: Sequence[Row], name: str) -> None:
        self._folder = folder
        self._rows = list(rows)
        self._csv = bool(settings.get("csv", True))
        self._events = EventFile(folder / "tensorboard") if settings.get("tensorboard", True) else None
        self._loggers = _loggers(folder, settings, name)
        for row in rows:
            self._add_event(row)
        if self._csv and rows:
            write_csv(folder / "metrics.csv", self._rows)

    def add(self, row: Row) -> None:
        self._rows.append(row)
        self._add_event(row)
        if self._csv:
            write_csv(self._folder / "metrics.csv", self._rows)
        for logger in self._loggers:
            logger.log_metrics({key: value for key, value in row.items() if key != "epoch"}, step=int(row["epoch"]))

    def _add_event(self, row: Row) -> None:
        if self._events is not None:
            finite = {key: value for key, value in row.items() if key != "epoch" and math.isfinite(value)}
            self._events.add(int(row["epoch"]), finite)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
        for logger in self._loggers:
            logger.finalize("success")


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    partial = path.with_suffix(".part")
    with open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def _loggers(folder: Path, settings: Mapping[str, Any], name: str) -> list[Any]:
    """Raises MissingDependency: one is asked for and not installed."""
    # Lightning is loaded by whoever trains; its loggers import their services only when made.
    from lightning.pytorch import loggers

    found: list[Any] = []
    try:
        if (wanted := settings.get("wandb")) is not None:
            keys = {key: wanted[key] for key in ("project", "entity") if wanted.get(key)}
            found.append(loggers.WandbLogger(name=name, save_dir=str(folder), **keys))
        if (wanted := settings.get("mlflow")) is not None:
            keys = {"tracking_uri": wanted["tracking_uri"]} if wanted.get("tracking_uri") else {}
            found.append(loggers.MLFlowLogger(experiment_name=wanted.get("experiment") or name, run_name=name, **keys))
    except ModuleNotFoundError as error:
        package = "mlflow" if "mlflow" in str(error).lower() else "wandb"
        raise MissingDependency(
            f"settings.tracking.{package}: {package} is not installed.",
            hint=f"Install it (pip install {package}), or write {package}: null.",
        ) from error
    return found
