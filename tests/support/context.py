"""A worker's context on a temporary folder, for testing a kind's `run` without the executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specrun.model.address import parse_address
from specrun.model.event import Event
from specrun.run.context import WorkerContext


class DictMemory:
    def __init__(self) -> None:
        self.values: dict[tuple[str, str], Any] = {}

    def remember(self, address: str, key: str, value: Any) -> None:
        self.values[address, key] = value

    def recall(self, address: str, key: str) -> Any:
        return self.values.get((address, key))


def make_context(tmp_path: Path, address: str, **overrides: Any) -> WorkerContext:
    """Events are collected in `context.events`."""
    where = parse_address(address)
    folders = {
        "staging": tmp_path / "outputs" / ".staging" / where.folder / "f",
        "output": tmp_path / "outputs" / where.folder,
        "run_folder": tmp_path / ".specrun" / "runs" / "test" / where.folder,
        "cache_dir": tmp_path / ".specrun" / "cache",
    }
    for name in ("staging", "run_folder", "cache_dir"):
        folders[name].mkdir(parents=True, exist_ok=True)
    events: list[Event] = []
    values: dict[str, Any] = {
        "address": where,
        "previous": None,
        "project_dir": tmp_path,
        "output_root": tmp_path / "outputs",
        "memory": DictMemory(),
        "emit": events.append,
        "settings": {"fiftyone": {"database": "embedded"}},
        "seed": 42,
        **folders,
    }
    context = WorkerContext(**{**values, **overrides})
    context.events = events  # type: ignore[attr-defined]
    return context
