"""A LoRA job that is trained elsewhere: what is sent, and the folder that is left in the end."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specrun.clients import fiftyone
from specrun.kinds.lora_jobs.remote.weights import read_delivered, save_delivered
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json, json_digest
from specrun.model.work import Context
from specrun.training.lora.estimates import guess_family
from specrun.training.lora.records import Records, choose
from specrun.training.lora.settings import LoraTraining


@dataclass(frozen=True, slots=True)
class Job:
    """key: digest of all that decides the weights."""

    spec: LoraTraining
    records: Records
    key: str
    seed: int
    losses: list[tuple[int, float]] = field(default_factory=list)


def make_job(spec: LoraTraining, config: Mapping[str, Any], ctx: Context) -> Job:
    """config: the fields that decide the weights. Images of the split val and test are not learnt."""
    made = ctx.input("dataset")
    with fiftyone.database(ctx) as database:
        samples = list(database.samples(str(made.facts["name"]), None))
    records = choose(samples, spec.model_copy(update={"validation": None}), ctx.seed)
    ctx.log(f"{len(records.train)} images to learn")
    return Job(spec, records, json_digest([dict(config), records.digest, ctx.seed]), ctx.seed)


def steps_of(spec: LoraTraining, records: Records) -> int:
    """Steps of the optimizer."""
    return spec.max_steps or -(-len(records.train) // (spec.batch * spec.gradient_accumulation)) * spec.epochs


def finished(delivered: Path, job: Job, more: Mapping[str, Json], ctx: Context) -> Outputs:
    """The job's folder from what was delivered. more: facts. Raises FormatError: there are no weights in it."""
    spec = job.spec
    found = read_delivered(delivered, guess_family(f"{spec.base_model} {spec.preset or ''}"))
    described: dict[str, Any] = {
        "base_model": spec.base_model,
        "base_digest": "",
        "trigger": spec.trigger,
        "network": "lora",
        "resolution": list(spec.resolution),
        "target_modules": sorted({name.split(".")[-3] for name in found.weights}),
        "steps": steps_of(spec, job.records),
        "dataset_digest": job.records.digest,
        "seed": job.seed,
        "trained_at": dict(more),
    }
    save_delivered(ctx.staging, found, described)
    notes = list(job.records.notes)
    if found.rank != spec.rank:
        notes.append(f"the weights have rank {found.rank}, not {spec.rank}")
    if found.left:
        notes.append(
            f"{found.left} changes of norms and biases have no place in a LoRA: they are in {delivered.name} alone"
        )
    else:
        delivered.unlink()
    _save_losses(ctx.staging / "metrics.csv", job.losses)
    facts: dict[str, Json] = {
        "family": found.family,
        "base_model": spec.base_model,
        "trigger": spec.trigger,
        "rank": found.rank,
        "alpha": found.rank,
        "steps": steps_of(spec, job.records),
        "validation_loss": None,
        "network": "lora",
        "images": len(job.records.train),
        **more,
    }
    return Outputs(artifacts=_artifacts(ctx.staging), facts=facts, notes=tuple(notes))


def _artifacts(folder: Path) -> tuple[Artifact, ...]:
    candidates = [
        Artifact("lora", "checkpoint", "lora.safetensors"),
        Artifact("kohya", "checkpoint", "lora_kohya.safetensors"),
        Artifact("delivered", "checkpoint", "delivered.safetensors"),
        Artifact("model", "file", "lora.json"),
        Artifact("metrics", "file", "metrics.csv"),
        Artifact("loss", "file", "loss.png"),
    ]
    return tuple(one for one in candidates if (folder / one.place).exists())


def _save_losses(path: Path, losses: Sequence[tuple[int, float]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("step", "train/loss"))
        rows.writerows(losses)
