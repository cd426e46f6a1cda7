"""Writing YOLO labels and image links: `python -m tests.bench.bench_yolo_export [images]`.

Against a peer in the same run: the bare system calls that any exporter needs (one label file and one link an
image). Five boxes an image. Reading out of FiftyOne is not in it.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from specrun.kinds.exports.yolo import Yolo, YoloSpec
from specrun.model.digest import file_digest
from specrun.model.labels import Box, Sample
from specrun.run.context import WorkerContext
from tests.support.fake_dataset import export_context, publish

IMAGES = 20_000
BOXES = 5


def make_samples(folder: Path, count: int) -> list[Sample]:
    folder.mkdir(parents=True)
    first = folder / "first.jpg"
    Image.new("RGB", (640, 480), (1, 2, 3)).save(first)
    digest = file_digest(first)
    samples = []
    for i in range(count):
        path = folder / f"image_{i:06}.jpg"
        os.link(first, path) if i % 30_000 else shutil.copy(first, path)
        boxes = tuple(Box(label="a", x=10.5 + j, y=20.25 + i % 97, width=30.5, height=40) for j in range(BOXES))
        samples.append(
            Sample(
                key=f"s/{i:06}",
                media=path,
                name=path.name,
                digest=digest,
                size_wh=(640, 480),
                split="train",
                labels=boxes,
            )
        )
    return samples


def bare_system_calls(folder: Path, samples: Sequence[Sample]) -> None:
    text = b"0 0.12345678 0.12345678 0.12345678 0.12345678\n" * BOXES
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for i, sample in enumerate(samples):
        file = os.open(f"{folder}/labels/{i}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(file, text)
        os.close(file)
        os.symlink(f"../../../../{sample.name}", f"{folder}/images/{i}.jpg")


def timed(work: Callable[[], object]) -> tuple[tuple[float, float], object]:
    """Wall time, and processor time with that of ended children, which a busy machine disturbs less."""
    started, used = time.perf_counter(), processor_s()
    result = work()
    return (time.perf_counter() - started, processor_s() - used), result


def processor_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main(count: int) -> None:
    patch = pytest.MonkeyPatch()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        samples = make_samples(root / "media", count)

        def context(previous: Path | None = None, cpus: int = 1) -> WorkerContext:
            shutil.rmtree(root / "outputs" / ".staging", ignore_errors=True)
            return export_context(root, patch, samples, ["a"], previous=previous, cpus=cpus)

        spec = YoloSpec(dataset="reef", task="detect")
        bare_s, _ = timed(lambda: bare_system_calls(root / "bare", samples))
        show("bare system calls, one process", count, bare_s, bare_s)
        for cpus in (1, 2):
            ctx = context(cpus=cpus)
            full_s, outputs = timed(lambda ctx=ctx: Yolo().run(spec, ctx))
            show(f"full export, {cpus} process(es)", count, full_s, bare_s)
        before = publish(ctx, outputs)
        for i in range(0, count, 100):
            samples[i] = replace(samples[i], labels=samples[i].labels[1:])
        for cpus in (1, 2):
            ctx = context(previous=before, cpus=cpus)
            again_s, _ = timed(lambda ctx=ctx: Yolo().run(spec, ctx))
            show(f"1% changed, {cpus} process(es)", count, again_s, bare_s)
            print(f"    {full_s[0] / again_s[0]:.1f} times faster than the full export")


def show(what: str, count: int, took_s: tuple[float, float], bare_s: tuple[float, float]) -> None:
    wall, processor = took_s
    rate = f"{count / wall:9,.0f} images/s  {wall / bare_s[0]:5.2f} x bare"
    print(f"{what:34} {wall:6.2f} s  {rate}  processor {processor / count * 1e6:5.1f} us an image")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
