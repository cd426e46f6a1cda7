"""What CVAT costs both ways: images up, labels put, the first pull, an export of the server's own, a second pull.

    python tests/bench/bench_cvat.py [--images 300] [--shapes 10] [--batch 300] [--size 800x600]

Against the double, or the real server that SPECRUN_TEST_CVAT_URL names (+ _USER, _PASSWORD); the project that it makes
there stays. Seen beside a real server on two cores with 300 images and 3,000 polygons in one task: upload 1.7 to 2.7 s,
annotations put 1.6 s, one export with images 3.8 s. A pull should cost near the last.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from specrun.clients.cvat import transfer
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.catalogue import jobs_of
from specrun.kinds.cvat_send.sending import Sending, connect
from specrun.kinds.cvat_send.tasks import TaskMaking
from specrun.kinds.sources.cvat import CvatSource
from specrun.model.artifact import Manifest
from specrun.model.digest import canonical_json, file_digest
from specrun.model.labels import Part, Polygon
from specrun.store.manifest import write_manifest
from tests.support.context import make_context
from tests.support.cvat import CvatServer, running_cvat
from tests.support.cvat_sending import PASSWORD, Round, polygons, spec_of

CORNERS = 20


class Clock:
    """Seconds by step, in the order in which the steps first ended."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.taken[name] = self.taken.get(name, 0.0) + time.perf_counter() - started

    def timed(self, name: str, work: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            with self.step(name):
                return work(*arguments, **named)

        return wrapped


def round_of(folder: Path, server: CvatServer, images: int, shapes: int, size_wh: tuple[int, int]) -> Round:
    """Images that compress as photographs do, about, with polygons spread over them."""
    work = Round(folder, server)  # type: ignore[arg-type]  # it needs the address and the account alone
    random = np.random.default_rng(7)
    for number in range(images):
        sample = work.add_image(f"{number:05}.jpg", *(outline(n, size_wh) for n in range(shapes)), size_wh=size_wh)
        coarse = random.integers(0, 255, (size_wh[1] // 8, size_wh[0] // 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size_wh).save(sample.media, quality=90)
        work.samples[number] = replace(sample, digest=file_digest(sample.media))
    return work


def outline(number: int, size_wh: tuple[int, int]) -> Polygon:
    angles = np.linspace(0, 2 * math.pi, CORNERS, endpoint=False)
    middle = np.array([size_wh[0] * (1 + number % 5) / 6, size_wh[1] * (1 + number // 5 % 5) / 6])
    ring = middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * min(size_wh) / 15
    return Polygon(label="coral", parts=(Part(ring),), score=0.9)


class Pulling:
    """A source of the project, made again and again."""

    def __init__(self, folder: Path, server: CvatServer, project: str) -> None:
        self.folder, self.project, self.runs = folder, project, 0
        account = {"url": server.url, "username": server.user, "password": PASSWORD}
        self.named: dict[str, Any] = {
            "declarations": {"connections.lab": account},
            "secrets": {canonical_json(PASSWORD): server.password},
        }

    def run(self) -> int:
        """How many images came."""
        output = self.folder / "outputs/sources/reef"
        ctx = make_context(self.folder, "sources.reef", previous=output if output.exists() else None, **self.named)
        spec = CvatSource.Spec.model_validate({"connection": "lab", "project": self.project})
        outputs = CvatSource().run(spec, ctx)
        write_manifest(ctx.staging, manifest_of(outputs))
        self.runs += 1
        if output.exists():
            output.rename(self.folder / f"before{self.runs}")
        output.parent.mkdir(parents=True, exist_ok=True)
        ctx.staging.rename(output)
        return int(outputs.facts["images"])


def manifest_of(outputs: Any) -> Manifest:
    return Manifest(
        address="sources.reef",
        kind="sources.cvat",
        kind_version=1,
        fingerprint="f",
        inputs={},
        versions={},
        seed=0,
        files=(),
        parts=outputs.parts,
        facts=outputs.facts,
        notes=outputs.notes,
        artifacts=outputs.artifacts,
        run="bench",
        made_at="2026-01-01T00:00:00Z",
        observation=outputs.observation,
    )


def finish(api: Api, project_id: int) -> None:
    for job in jobs_of(api, project_id=project_id):
        api.patch(f"/api/jobs/{job.id}", {"stage": "acceptance", "state": "completed"})


def edit(api: Api, task_id: int) -> None:
    """As a person who moves one shape."""
    job = jobs_of(api, task_ids=[task_id])[0]
    shape = api.get(f"/api/jobs/{job.id}/annotations/")["shapes"][0]
    moved = {**shape, "points": [value + 1 for value in shape["points"]]}
    api.patch(f"/api/jobs/{job.id}/annotations/", {"shapes": [moved], "tags": [], "tracks": []}, action="update")


def measure(server: CvatServer, folder: Path, wish: argparse.Namespace) -> dict[str, float]:
    width, height = map(int, wish.size.split("x"))
    work = round_of(folder / "send", server, wish.images, wish.shapes, (width, height))
    name = f"specrun bench {int(time.time())}"
    spec = spec_of(project=name, prelabels=polygons(), tasks={"from": "sources.photos", "size": wish.batch})
    clock = Clock()
    loads, puts = clock.timed("  of it: upload", TaskMaking.load), clock.timed("  of it: put labels", Sending._prelabel)
    with clock.step("send"), patch.object(TaskMaking, "load", loads), patch.object(Sending, "_prelabel", puts):
        facts: Any = work.run(spec).facts
    with clock.step("send again"):
        work.run(spec)
    pulling = Pulling(folder / "pull", server, name)
    with connect(spec, work.context()) as api:
        finish(api, facts["project_id"])
        with clock.step("first pull"):
            images = pulling.run()
        assert images == wish.images, images
        archive = folder / "archive.zip"
        with clock.step("export with images"):
            transfer.export_dataset(
                api,
                "projects",
                facts["project_id"],
                format="CVAT for images 1.1",
                save_images=True,
                target=archive,
            )
        edit(api, facts["task_ids"][0])
    with clock.step("second pull, one task changed"):
        pulling.run()
    with clock.step("third pull, nothing changed"):
        pulling.run()
    return clock.taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--shapes", type=int, default=10)
    parser.add_argument("--batch", type=int, default=300)
    parser.add_argument("--size", default="800x600")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_cvat(anonymous_per_minute=None) as server:
        kind = "the double" if server.double else server.url
        print(f"{wish.images} images, {wish.images * wish.shapes:,} polygons, {kind}")
        for name, seconds in measure(server, Path(folder), wish).items():
            print(f"{name:32}{seconds:7.2f} s")


if __name__ == "__main__":
    main()
