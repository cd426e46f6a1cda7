"""A dataset without FiftyOne, for testing what reads `specrun.clients.fiftyone.database`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from specrun.clients import fiftyone
from specrun.model.address import parse_address
from specrun.model.digest import file_digest
from specrun.model.labels import AnyLabel, Sample
from specrun.model.work import Made
from specrun.run.context import WorkerContext
from tests.support.context import make_context


class FakeDatabase:
    def __init__(self, samples: Sequence[Sample], classes: Sequence[str]) -> None:
        self.held = sorted(samples, key=lambda sample: sample.key)
        self.held_classes = tuple(classes)
        self.asked: list[dict[str, Any]] = []

    def samples(self, name: str, label_field: str | None = "ground_truth", **conditions: Any) -> Iterator[Sample]:
        self.asked.append({"name": name, "label_field": label_field, **conditions})
        return iter(self.held)

    def classes(self, name: str) -> tuple[str, ...]:
        return self.held_classes


def sample_on_disk(
    folder: Path, name: str, labels: Sequence[AnyLabel] = (), *, size_wh: tuple[int, int] = (40, 30), **changes: Any
) -> Sample:
    """A sample with a real image: gray, unless the file is there already."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        Image.new("RGB", size_wh, (90, 120, 150)).save(path)
    fields = {"key": f"s/{name}", "split": "train", "labels": tuple(labels), **changes}
    return Sample(media=path, name=name, digest=file_digest(path), size_wh=size_wh, **fields)


def export_context(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    samples: Sequence[Sample],
    classes: Sequence[str],
    *,
    address: str = "exports.out",
    facts: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **overrides: Any,
) -> WorkerContext:
    """The context of an export whose dataset holds the samples."""
    database = FakeDatabase(samples, classes)

    @contextmanager
    def open_database(ctx: WorkerContext) -> Iterator[FakeDatabase]:
        yield database

    monkeypatch.setattr(fiftyone, "database", open_database, raising=False)
    known = {"name": "p.reef", "label_field": "ground_truth", "classes": list(classes), "images": len(samples)}
    made = Made(
        parse_address("datasets.reef"),
        "datasets.dataset",
        tmp_path,
        "d",
        facts={**known, **(facts or {})},
        config=config or {},
    )
    context = make_context(tmp_path, address, made={"dataset": [made]}, **overrides)
    context.database = database  # type: ignore[attr-defined]
    return context


def publish(context: WorkerContext, outputs: Any) -> Path:
    """What the executor does after `run`: a manifest, and the folder under its final name."""
    from specrun.model.artifact import Manifest
    from specrun.store.manifest import collect_files, write_manifest

    files = collect_files(context.staging, outputs.known_digests)
    values = {field.name: {} for field in dataclasses.fields(Manifest)}
    values |= {"address": str(context.address), "kind": "exports.x", "kind_version": 1, "fingerprint": "f", "seed": 0}
    values |= {"files": files, "facts": dict(outputs.facts), "notes": outputs.notes, "artifacts": outputs.artifacts}
    values |= {"run": "r", "made_at": "", "observation": None}
    write_manifest(context.staging, Manifest(**values))  # type: ignore[arg-type]
    context.output.parent.mkdir(parents=True, exist_ok=True)
    if context.output.exists():
        context.output.rename(context.output.with_name(f"{context.output.name}.old"))
    context.staging.rename(context.output)
    return context.output
