"""A training of kind smp as plain data: what the worker found out, and what every process builds the same from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from specrun.formats.images import read_upright_rgb
from specrun.kinds.models.smp_spec import SmpSpec
from specrun.training.ranks import Program
from specrun.training.smp import checkpoints, preparing
from specrun.training.smp.data import Frames, read_export
from specrun.training.smp.description import ModelDescription, description_from_json
from specrun.training.smp.model import build_model, load_encoder_weights
from specrun.training.smp.starting import warm_start
from specrun.training.smp.training import Training
from specrun.training.warm_start import Start

PROGRAM: Program = ("-m", "specrun.kinds.models.smp_rank")
Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """export: its folder. weights: of the classes in the loss. start: whose weights it begins with; local: a file of
    the encoder's. cached: decoded images stay in memory. For the rest see Training."""

    spec: SmpSpec
    described: ModelDescription
    export: Path
    weights: tuple[float, ...] | None
    cached: bool
    start: Start | None
    local: Path | None
    folder: Path
    key: str
    gpus: int
    cpus: int
    seed: int
    tracking: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        start = {**asdict(self.start), "checkpoint": str(self.start.checkpoint)} if self.start else None
        return {
            **{name: getattr(self, name) for name in ("weights", "cached", "key", "gpus", "cpus", "seed")},
            "spec": self.spec.model_dump(mode="json", by_alias=True),
            "described": self.described.to_json(),
            "export": str(self.export),
            "start": start,
            "local": str(self.local) if self.local else None,
            "folder": str(self.folder),
            "tracking": dict(self.tracking),
        }


def job_from_json(content: Mapping[str, Any]) -> TrainingJob:
    start, weights, local = content["start"], content["weights"], content["local"]
    if start is not None:
        classes = tuple(start["classes"]) if start["classes"] is not None else None
        start = Start(Path(start["checkpoint"]), classes, start["where"])
    return TrainingJob(
        **{name: content[name] for name in ("cached", "key", "gpus", "cpus", "seed", "tracking")},
        spec=SmpSpec.model_validate(content["spec"]),
        described=description_from_json(content["described"], "the job of a rank"),
        export=Path(content["export"]),
        weights=tuple(weights) if weights is not None else None,
        start=start,
        local=Path(local) if local else None,
        folder=Path(content["folder"]),
    )


def training_of(job: TrainingJob, log: Log) -> Training:
    """Nothing is read or built yet but the list of images."""
    export, train = read_export(job.export), job.spec.train
    frames: dict[str, Frames | None] = {}
    for split in ("train", "val"):
        found = preparing.frames_of(export, split, job.described, read_upright_rgb)
        frames[split] = replace(found, cached=job.cached) if found else None
    assert frames["train"] is not None
    return Training(
        described=job.described,
        build=partial(_first_weights, job, log),
        train_frames=frames["train"],
        val_frames=frames["val"],
        train=train,
        augment=job.spec.augment,
        weights=job.weights,
        folder=job.folder,
        key=job.key,
        resume=job.spec.resume == "auto",
        gpus=job.gpus,
        cpus=job.cpus,
        seed=job.seed,
        tracking=job.tracking,
    )


def _first_weights(job: TrainingJob, log: Log) -> nn.Module:
    torch.manual_seed(job.seed)
    going_on = (job.folder / checkpoints.LAST).is_file()
    own = job.start is None and job.local is None and not going_on
    model = build_model(job.described, pretrained=job.spec.encoder_weights if own else None)
    if going_on:
        return model
    if job.start is not None:
        warm_start(model, job.described, job.start, log)
    elif job.local is not None:
        load_encoder_weights(model, job.local)
    return model
