"""A cvat_projects node on a server double: images, predictions and one run after another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from specrun.formats.samples import save_samples
from specrun.kinds.cvat_projects import CvatProject
from specrun.kinds.cvat_send.spec import CvatProjectSpec
from specrun.model.address import parse_address
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import canonical_json, file_digest
from specrun.model.labels import AnyLabel, Part, Polygon, Sample
from specrun.model.work import Made
from tests.doubles.cvat.server import CvatDouble
from tests.support.context import DictMemory, make_context

ADDRESS = "cvat_projects.round1"
PASSWORD = {"env": "CVAT_PASSWORD"}
QUICK = {"retry": {"max_attempts": 2, "initial_delay": "10ms", "max_delay": "20ms"}}


def spec_of(**changes: Any) -> CvatProjectSpec:
    labels = {"from": "taxonomies.reef", "type": "polygon"}
    base = {"connection": "lab", "project": "reef", "labels": labels, "tasks": {"from": "sources.photos", "size": 2}}
    return CvatProjectSpec.model_validate({**base, **changes})


def square(x: float, y: float, size: float = 20.0, label: str = "coral", **more: Any) -> Polygon:
    ring = np.array([[x, y], [x + size, y], [x + size, y + size], [x, y + size]], dtype=np.float64)
    return Polygon(label=label, parts=(Part(ring),), **more)


class Round:
    """Everything of one node that lasts: its images, its predictions, what it remembers, the server."""

    def __init__(self, folder: Path, server: CvatDouble) -> None:
        self.folder, self.server, self.memory = folder, server, DictMemory()
        self.samples: list[Sample] = []
        self.predicted: dict[str, Sequence[AnyLabel]] = {}
        self.runs = 0
        self.project_name = "reef"
        (folder / "photos").mkdir(parents=True)

    def add_image(
        self, name: str, *labels: AnyLabel, split: str | None = "train", size_wh: tuple[int, int] = (120, 90)
    ) -> Sample:
        path = self.folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = 1 + len(self.samples) % 250
        Image.new("RGB", size_wh, (shade, 255 - shade, len(name))).save(path)
        key = f"photos/{name}"
        sample = Sample(key=key, media=path, name=name, digest=file_digest(path), size_wh=size_wh, split=split)
        self.samples.append(sample)
        self.predicted[key] = labels
        return sample

    def made(self) -> dict[str, list[Made]]:
        source, predictions = self.folder / "outputs/sources/photos", self.folder / "outputs/predictions/masks"
        for place, name, labelled in ((source, "samples.jsonl", False), (predictions, "predictions.jsonl", True)):
            place.mkdir(parents=True, exist_ok=True)
            rows = [
                Sample(
                    key=s.key,
                    media=s.media,
                    name=s.name,
                    digest=s.digest,
                    size_wh=s.size_wh,
                    split=s.split,
                    labels=tuple(self.predicted[s.key]) if labelled else (),
                )
                for s in self.samples
            ]
            save_samples(place / name, rows, self.folder)
        images = Made(parse_address("sources.photos"), "sources.images", source, "d", facts={"classes": ["coral"]})
        artifact = (Artifact("predictions", "file", "predictions.jsonl"),)
        found = Made(parse_address("predictions.masks"), "predictions.prediction", predictions, "d", artifacts=artifact)
        return {"images": [images], "prelabels": [found]}

    def context(self, **overrides: Any) -> Any:
        self.runs += 1
        values: dict[str, Any] = {
            "memory": self.memory,
            "project_name": self.project_name,
            "made": self.made(),
            "settings": QUICK,
            "secrets": {canonical_json(PASSWORD): self.server.password},
            "declarations": {
                "connections.lab": {"url": self.server.url, "username": self.server.user, "password": PASSWORD},
                "taxonomies.reef": {
                    "classes": ["coral", "sand"],
                    "map": {},
                    "drop": [],
                    "unmapped": "keep",
                    "colors": {"coral": "#e6194b"},
                },
                "skeletons.corners": {
                    "label": "corner",
                    "points": ["TL", "BR"],
                    "edges": [["TL", "BR"]],
                    "flip_pairs": [],
                    "template": {"TL": [0, 0], "BR": [1, 1]},
                },
            },
        }
        return make_context(self.folder, ADDRESS, **{**values, **overrides})

    def run(self, spec: CvatProjectSpec | None = None, **overrides: Any) -> Outputs:
        return CvatProject().run(spec or spec_of(), self.context(**overrides))

    @property
    def tasks(self) -> list[Any]:
        return sorted(self.server.state.tasks.values(), key=lambda task: task.id)

    def frames(self, task: Any) -> list[str]:
        return [frame.name for frame in task.media.frames]

    def shapes(self) -> dict[str, list[list[float]]]:
        """Frame name → points of its shapes, over all tasks."""
        found: dict[str, list[list[float]]] = {}
        for task in self.tasks:
            names = self.frames(task) if task.media else []
            for shape in self.server.person.shapes(task.id) if task.media else ():
                found.setdefault(names[shape["frame"]], []).append(shape["points"])
        return found

    def sent(self) -> list[dict[str, Any]]:
        path = next((self.folder / "outputs").glob(".staging/**/sent.jsonl"))
        return [json.loads(line) for line in path.read_text().splitlines()]


def polygons(**changes: Any) -> dict[str, Any]:
    return {"from": "predictions.masks", "shape": "polygon", **changes}
