"""A project folder with one source and one dataset node, run without the executor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from PIL import Image

from specrun.clients.fiftyone import Database, open_database
from specrun.formats.samples import SAMPLES_NAME, save_samples
from specrun.kinds.datasets.dataset import Dataset
from specrun.kinds.datasets.spec import DatasetSpec
from specrun.model.address import parse_address
from specrun.model.artifact import Outputs
from specrun.model.event import LogLine
from specrun.model.labels import AnyLabel, Part, Polygon, Sample
from specrun.model.state import NodeRecord, Observation
from specrun.model.taxonomy import ResolvedTaxonomy
from specrun.model.work import Made
from tests.support.context import DictMemory, make_context

SETTINGS = {"fiftyone": {"database": "embedded"}}


def square(label: str = "Acropora", x: float = 1.0, y: float = 2.0, size: float = 5.0, **rest: Any) -> Polygon:
    ring = np.array([[x, y], [x + size, y], [x + size, y + size], [x, y + size]])
    return Polygon(label=label, parts=(Part(ring),), **rest)


@dataclass
class DatasetProject:
    """name: of the dataset in FiftyOne. Media are 32 × 24 pixels."""

    root: Path
    name: str
    memory: DictMemory = field(default_factory=DictMemory)
    last: Outputs | None = None
    said: tuple[str, ...] = ()
    taxonomies: dict[str, ResolvedTaxonomy] = field(default_factory=dict)
    declared: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    stop: Callable[[], bool] = lambda: False

    @property
    def output(self) -> Path:
        return self.root / "outputs" / "datasets" / self.name

    def sample(self, stem: str, *labels: AnyLabel, **rest: Any) -> Sample:
        media = self.root / "media" / f"{stem}.png"
        if not media.exists():
            media.parent.mkdir(exist_ok=True)
            Image.new("RGB", (32, 24)).save(media)
        values = {"digest": f"digest of {stem}", "size_wh": (32, 24), "name": media.name, **rest}
        return Sample(key=f"photos/{stem}.png", media=media, labels=labels, **values)

    def source(self, samples: Sequence[Sample], classes: Sequence[str] = ()) -> Made:
        folder = self.root / "outputs" / "sources" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        save_samples(folder / SAMPLES_NAME, samples, self.root)
        address = parse_address("sources.photos")
        return Made(address, "sources.annotations", folder, "digest", facts={"classes": list(classes)})

    def apply(self, samples: Sequence[Sample], *, classes: Sequence[str] = (), **spec: Any) -> Outputs:
        return self.run([self.source(samples, classes)], **spec)

    def run(self, made: Sequence[Made], **spec: Any) -> Outputs:
        wanted = DatasetSpec.model_validate({"from": "sources.photos", "name": self.name, **spec})
        context = make_context(
            self.root,
            f"datasets.{self.name}",
            made={"source": list(made)},
            memory=self.memory,
            previous=self.output if self.output.exists() else None,
            declarations={
                **{f"taxonomies.{name}": found.to_json() for name, found in self.taxonomies.items()},
                **self.declared,
            },
            secrets=self.secrets,
            settings={**SETTINGS, **self.settings},
            stop=lambda: self.stop(),
        )
        self.last = Dataset().run(wanted, context)
        self.said = tuple(event.text for event in context.events if isinstance(event, LogLine))  # type: ignore[attr-defined]
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.parent.mkdir(parents=True, exist_ok=True)
        context.staging.rename(self.output)
        return self.last

    def open(self) -> Any:
        return open_database(SETTINGS, self.root / ".specrun", project_dir=self.root)

    def observe(self) -> Observation:
        """As the planner asks after the last run."""
        assert self.last is not None
        look = _Look(self.root, self.last, self.name)
        spec = DatasetSpec.model_validate({"from": "sources.photos", "name": self.name})

        async def ask() -> Observation:
            return await Dataset().observe(spec, look)  # type: ignore[arg-type]

        return anyio.run(ask)

    def labels(self, database: Database, stem: str, label_field: str = "ground_truth") -> list[AnyLabel]:
        found = {sample.name: sample for sample in database.samples(self.name, label_field)}
        return list(found[f"{stem}.png"].labels)


class _Look:
    def __init__(self, root: Path, last: Outputs, name: str) -> None:
        self.address = parse_address(f"datasets.{name}")
        self.project_dir, self.output_root, self.state_dir = root, root / "outputs", root / ".specrun"
        self.settings, self.declarations = SETTINGS, {}
        self.record = NodeRecord(
            address=self.address,
            kind="datasets.dataset",
            kind_version=1,
            fingerprint="f",
            result_config={},
            inputs={},
            observation=last.observation,
            digest="d",
            parts=last.parts,
            facts=last.facts,
            folder=f"datasets/{name}",
            run="r",
            made_at="",
            duration_s=1.0,
        )
