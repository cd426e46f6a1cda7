"""Events of a run that never happened: for tests of the views, the dashboard's benchmark and looking at it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from specrun.model.address import parse_address
from specrun.model.diagnostic import Position
from specrun.model.event import (
    ArtifactMade,
    Event,
    GpuSample,
    LogLine,
    MachineSample,
    Metric,
    NodeFailed,
    NodeFinished,
    NodeQueued,
    NodeSkipped,
    NodeStarted,
    NodeWaiting,
    Notice,
    Progress,
    RunFinished,
    RunStarted,
)
from specrun.model.plan import Action, Cause, Estimate, Plan, PlannedNode, Reason

START = 1_700_000_000.0


def planned(
    address: str, action: Action = Action.CREATE, *needs: str, seconds: float | None = None, **more: Any
) -> PlannedNode:
    """A planned node with the usual reason of its action, unless reasons are given."""
    usual = {
        Action.CREATE: (Reason(Cause.NEW, "new"),),
        Action.UNKNOWN: tuple(Reason(Cause.AFTER, f"after {need}") for need in needs[:1]),
        Action.WAIT: (Reason(Cause.PEOPLE, "7 of 10 tasks completed"),),
        Action.ORPHAN: (Reason(Cause.ORPHAN, "no longer in the spec"),),
    }
    values: dict[str, Any] = {
        "reasons": usual.get(action, ()),
        "estimate": Estimate(seconds, "last run" if seconds is not None else ""),
        "needs": tuple(parse_address(need) for need in needs),
        "folder": f"outputs/{parse_address(address).folder}",
        **more,
    }
    return PlannedNode(parse_address(address), _kind_of(address), action, **values)


def _kind_of(address: str) -> str:
    return {"sources": "annotations", "datasets": "dataset", "exports": "yolo", "models": "ultralytics"}.get(
        address.split(".", maxsplit=1)[0], address.split(".", maxsplit=1)[0].removesuffix("s")
    )


def numbered(events: Sequence[Event], run: str = "20231114-2213-4f") -> list[Event]:
    """As a journal holds them: with the run's id and counted."""
    return [replace(event, run=run, seq=index) for index, event in enumerate(events, 1)]


def started(*nodes: PlannedNode, history: dict[str, float] | None = None, project: str = "corals") -> RunStarted:
    plan = Plan(project, nodes)
    return RunStarted(
        project=project,
        spec="project.yaml",
        plan=plan.to_json(),
        history=history or {},
        pid=4711,
        host="reefbox",
        time=START,
    )


def coral_plan() -> tuple[PlannedNode, ...]:
    config = Reason(Cause.CONFIG, "train.epochs 50 → 100", Position("project.yaml", 61, 5, 11), "train.epochs", 50, 100)
    seen = Reason(Cause.OBSERVATION, "2 new completed tasks (train_batch_03, val_batch_02)")
    sweep = [f"models.sweep[encoder={name}]" for name in ("resnet18", "resnet34", "resnet50", "convnext_tiny")]
    return (
        planned("sources.reef", Action.UPDATE, seconds=14, reasons=(seen, Reason(Cause.OBSERVATION, "1 task edited"))),
        planned("sources.photos", Action.NONE),
        planned("sources.round1", Action.WAIT),
        planned("datasets.reef", Action.UNKNOWN, "sources.reef", seconds=32),
        planned("exports.yolo", Action.UNKNOWN, "datasets.reef", seconds=8),
        planned("exports.mmseg", Action.UNKNOWN, "datasets.reef", seconds=21),
        planned("exports.coco", Action.UNKNOWN, "datasets.reef", notes=("12 polylines are not part of COCO",)),
        planned(
            "models.detector",
            Action.UPDATE,
            "exports.yolo",
            reasons=(config,),
            estimate=Estimate(2460, "last run 20 min", 11_200),
        ),
        *(planned(name, Action.CREATE, "exports.mmseg", estimate=Estimate(840, "", 6_000)) for name in sweep),
        planned("predictions.masks", Action.UNKNOWN, "models.detector", seconds=65),
        planned("evaluations.detector", Action.UNKNOWN, "predictions.masks", seconds=12),
        planned("publications.reef", Action.UNKNOWN, "exports.coco", external=True),
        planned("exports.old_yolo", Action.ORPHAN),
    )


def coral_run(*, until: float = math.inf, hostile: bool = False) -> list[Event]:
    """A reef project in the middle of its training, or up to its end; `until`: seconds after the start."""
    timeline = sorted(_coral_timeline(hostile), key=lambda event: event.time)
    kept = [event for event in timeline if event.time <= START + until]
    return numbered([started(*coral_plan(), history={"models.detector": 1200.0}), *kept])


def _coral_timeline(hostile: bool) -> Iterator[Event]:
    def at(seconds: float) -> float:
        return START + seconds

    yield Notice(text="no connection to wandb: metrics stay here", level="warning", time=at(0.2))
    yield from _short_node("sources.reef", 1, 13, {"images": 412, "labels": {"Acropora": 2210, "Pavona": 871}}, at)
    yield from _short_node("datasets.reef", 14, 30, {"images": 412, "splits": {"train": 330, "val": 82}}, at)
    for name, begin, length in (("yolo", 45, 7), ("mmseg", 45, 19), ("coco", 46, 11)):
        yield from _short_node(f"exports.{name}", begin, length, {"images": 412}, at)
    yield from _training("models.detector", 53, 100, 24.0, (0,), at, hostile)
    yield from _training("models.sweep[encoder=resnet18]", 66, 30, 26.0, (1,), at, hostile)
    yield NodeQueued(address="models.sweep[encoder=resnet34]", waits_for="a GPU", time=at(66))
    yield from _failure("models.sweep[encoder=resnet50]", 68, at)
    yield NodeSkipped(address="publications.reef", reason="needs approval, and nobody could be asked", time=at(58))
    yield NodeQueued(address="models.sweep[encoder=convnext_tiny]", waits_for="a GPU", time=at(66))
    yield NodeWaiting(
        address="sources.round1", missing=("task 17 train_batch_08: 31 of 50 frames", "task 18: not begun"), time=at(1)
    )
    yield from _machine(at)


def _short_node(address: str, begin: float, length: float, facts: dict[str, Any], at: Any) -> Iterator[Event]:
    yield NodeStarted(address=address, worker="light-1", pid=5001, log=f"{address}/log.txt", time=at(begin))
    images = int(facts.get("images", 10))
    for step in range(11):
        yield Progress(
            address=address,
            done=images * step // 10,
            total=images,
            unit="images",
            time=at(begin + length * step / 10.5),
        )
        yield LogLine(
            address=address,
            text=f"read {images * step // 10} of {images} images",
            time=at(begin + length * step / 10.5),
        )
    place = f"/data/corals/outputs/{address.replace('.', '/')}"
    yield ArtifactMade(
        address=address,
        name="folder",
        artifact_type="folder",
        place=place,
        size_bytes=48_213_992,
        time=at(begin + length),
    )
    yield NodeFinished(
        address=address, duration_s=length, facts=facts, folder=place, digest="6e0b" * 8, time=at(begin + length)
    )


def _training(
    address: str, begin: float, epochs: int, epoch_s: float, gpus: tuple[int, ...], at: Any, hostile: bool
) -> Iterator[Event]:
    noise = random.Random(address)
    yield NodeStarted(address=address, worker="gpu", pid=5120, gpus=gpus, log=f"{address}/log.txt", time=at(begin))
    yield LogLine(
        address=address, text="Ultralytics 8.4.1 · Python-3.11 · torch-2.9 CUDA:0 (NVIDIA H200)", time=at(begin + 2)
    )
    if hostile:
        yield LogLine(
            address=address, text="label [@click=app.quit]x[/] \x1b[2J\x1b]0;owned\x07 is new", time=at(begin + 2)
        )
    batches = 42
    for epoch in range(epochs):
        t0 = begin + 6 + epoch * epoch_s
        for batch in range(0, batches, 3):
            when = at(t0 + epoch_s * batch / batches)
            yield Progress(
                address=address,
                done=batch,
                total=batches,
                unit="batches",
                phase=f"epoch {epoch + 1}/{epochs}",
                time=when,
            )
        x = epoch / 12
        loss = 2.2 * math.exp(-x) + 0.35 + noise.gauss(0, 0.03)
        values = {
            "train/box_loss": loss,
            "train/seg_loss": loss * 1.7 + noise.gauss(0, 0.04),
            "train/cls_loss": loss * 0.8 + noise.gauss(0, 0.02),
            "val/box_loss": loss + 0.12 + noise.gauss(0, 0.05),
            "metrics/mAP50(M)": max(0.0, 0.82 * (1 - math.exp(-x * 1.1)) + noise.gauss(0, 0.015)),
            "metrics/mAP50-95(M)": max(0.0, 0.55 * (1 - math.exp(-x * 0.9)) + noise.gauss(0, 0.012)),
            "lr/pg0": 0.01 * (1 - epoch / epochs),
        }
        for name, value in values.items():
            yield Metric(address=address, name=name, step=epoch + 1, value=value, time=at(t0 + epoch_s))
        text = (
            f"{epoch + 1:>5}/{epochs}  10.9G  {loss:8.4f} {loss * 1.7:8.4f} {loss * 0.8:8.4f}   37   1920: 100% 42/42"
        )
        yield LogLine(address=address, text=text, time=at(t0 + epoch_s))
    end = begin + 6 + epochs * epoch_s
    place = f"/data/corals/outputs/{address.replace('.', '/')}"
    yield ArtifactMade(
        address=address,
        name="best",
        artifact_type="checkpoint",
        place=f"{place}/weights/best.pt",
        size_bytes=6_021_334,
        time=at(end),
    )
    facts = {"task": "segment", "metrics": {"mAP50(M)": 0.8134, "mAP50-95(M)": 0.5421}}
    yield NodeFinished(
        address=address, duration_s=end - begin, facts=facts, folder=place, digest="a1" * 16, time=at(end)
    )


def _failure(address: str, begin: float, at: Any) -> Iterator[Event]:
    yield NodeStarted(address=address, worker="gpu", pid=5130, gpus=(1,), log=f"{address}/log.txt", time=at(begin))
    lines = (
        "Traceback (most recent call last):",
        '  File "train.py", line 88, in fit',
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    )
    for line in lines:
        yield LogLine(address=address, text=line, time=at(begin + 21))
    yield NodeFailed(
        address=address,
        cause="GPU 1 ran out of memory at batch 16 (23.1 of 24.0 GiB in use)",
        hint="Lower train.batch, train.imgsz, or set train.precision to 16-mixed.",
        log=f"{address}/log.txt",
        last_lines=lines,
        time=at(begin + 22),
    )


def _machine(at: Any) -> Iterator[Event]:
    noise = random.Random(7)
    for second in range(0, 700, 2):
        yield MachineSample(
            cpu=42 + 20 * math.sin(second / 17) + noise.gauss(0, 4),
            cores=16,
            memory_used_mib=38_000 + second * 11,
            memory_total_mib=131_072,
            disk_free_bytes=412 * 2**30,
            time=at(second),
        )
        for index in (0, 1):
            busy = 0 if second < 60 else 88 + 9 * math.sin(second / 5 + index)
            yield GpuSample(
                index=index,
                name="NVIDIA H200",
                utilisation=max(0.0, min(100.0, busy + noise.gauss(0, 3))),
                memory_used_mib=640 if second < 60 else 11_264 + index * 8_000,
                memory_total_mib=24_576,
                temperature_c=38 + busy / 4,
                power_w=90 + busy * 3,
                processes=("models.detector",) if busy and index == 0 else (),
                time=at(second),
            )


def finished_coral_run() -> list[Event]:
    events = coral_run()
    last = max(event.time for event in events)
    end = RunFinished(
        status="failed", exit_code=1, duration_s=last - START, finished=7, failed=1, skipped=1, waiting=1, time=last
    )
    return numbered([*events, end])


def busy_run(nodes: int = 200, running: int = 40) -> list[Event]:
    """The start of a run of trivial nodes, the first `running` of them at work."""
    plan = [
        planned(f"steps.part_{index // 10:02d}[shard={index % 10}]", Action.CREATE, seconds=600)
        for index in range(nodes)
    ]
    begun = [
        NodeStarted(
            address=node.address.text, worker="light-1", pid=9000, log=f"{node.address}/log.txt", time=START + 1
        )
        for node in plan[:running]
    ]
    return numbered([started(*plan, project="busy"), *begun])


def busy_second(second: int, *, lines: int = 5000, running: int = 40, nodes: int = 200) -> list[Event]:
    """What the running nodes of `busy_run` say in one second."""
    names = [f"steps.part_{index // 10:02d}[shard={index % 10}]" for index in range(nodes)][:running]
    when = START + 2 + second
    events: list[Event] = []
    for index in range(lines):
        text = f"step {second * lines + index}: loss 0.{index:05d} lr 1.0e-3 samples 1,024 throughput 913.4/s"
        events.append(LogLine(address=names[index % running], text=text, time=when + index / lines))
    for index, name in enumerate(names):
        events.append(Progress(address=name, done=second, total=600, unit="steps", phase="copy", time=when))
        events.append(Metric(address=name, name="loss", step=second, value=1 / (second + 1) + index / 100, time=when))
    events.append(
        MachineSample(cpu=50.0, cores=2, memory_used_mib=900, memory_total_mib=4000, disk_free_bytes=2**36, time=when)
    )
    return events
