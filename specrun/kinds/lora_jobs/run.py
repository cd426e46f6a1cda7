"""The work of a LoRA job that is trained on this machine."""

from __future__ import annotations

from typing import Any

import torch

from specrun.clients import fiftyone
from specrun.errors import MissingDependency, NodeError
from specrun.kinds.lora_jobs.pixels import pixels
from specrun.kinds.lora_jobs.spec import LoraJobSpec, artifacts, result_config
from specrun.model.artifact import Outputs
from specrun.model.digest import Json, json_digest
from specrun.model.work import Context
from specrun.training.lora.base import Base, find_base
from specrun.training.lora.checkpoints import LAST
from specrun.training.lora.finishing import save_lora
from specrun.training.lora.reached import REACHED
from specrun.training.lora.records import Records, choose, require_masks
from specrun.training.lora.rules import family_problems, installed
from specrun.training.lora.together import train_together
from specrun.training.lora.trained import Trained
from specrun.training.lora.trainer import Job
from specrun.training.quiet_bitsandbytes import quiet_bitsandbytes
from specrun.training.quiet_diffusers import quiet_diffusers

_PACKAGES = ("diffusers", "peft", "transformers")


def trained_here(spec: LoraJobSpec, ctx: Context) -> Outputs:
    if missing := [name for name in _PACKAGES if not installed(name)]:
        hint = "Install the extra: pip install 'specrun[lora]'."
        raise MissingDependency(f"LoRA training needs {', '.join(missing)}.", hint=hint)
    quiet_bitsandbytes()
    quiet_diffusers()
    torch.set_num_threads(max(1, ctx.cpus))
    ctx.progress(0, None, phase="reading the dataset")
    records = read_records(spec, ctx)
    ctx.progress(0, None, "steps", "looking at the base model")
    base = find_base(spec.base_model, spec.base_config, ctx.project_dir)
    for problem in family_problems(spec, base.family):
        raise NodeError(f"{problem.path}: {problem.message}", hint=problem.hint)
    on_gpu = bool(ctx.gpus)
    ranks = max(1, len(ctx.gpus))
    key = training_key(spec, base, records, ctx.seed, on_gpu=on_gpu, ranks=ranks)
    job = Job(
        spec=spec,
        base=base,
        records=records,
        pixels=pixels(),
        folder=ctx.staging,
        cache=ctx.cache_dir,
        key=key,
        seed=ctx.seed,
        on_gpu=on_gpu,
        ranks=ranks,
    )
    count = f"{len(records.train)} images to learn, {len(records.validation)} for validation"
    ctx.log(f"{count}, base model {spec.base_model} ({base.family})")
    trained = train_together(job, ctx)
    ctx.progress(trained.steps, trained.steps, "steps", "saving the weights")
    return _finished(job, trained, ctx)


def read_records(spec: LoraJobSpec, ctx: Context) -> Records:
    made = ctx.input("dataset")
    field = spec.masked_loss.label_field if spec.masked_loss is not None else None
    with fiftyone.database(ctx) as database:
        samples = list(database.samples(str(made.facts["name"]), field))
    return require_masks(choose(samples, spec, ctx.seed), spec)


def training_key(spec: LoraJobSpec, base: Base, records: Records, seed: int, *, on_gpu: bool, ranks: int) -> str:
    """ranks: a step takes as many batches."""
    parts = [result_config(spec), base.digest, records.digest, seed, on_gpu, ranks]
    if spec.network == "locon":
        parts.append(2)  # its layers changed
    return json_digest(parts)


def _finished(job: Job, trained: Trained, ctx: Context) -> Outputs:
    spec = job.spec
    described: dict[str, Any] = {
        "family": job.base.family,
        "base_model": spec.base_model,
        "base_digest": job.base.digest,
        "trigger": spec.trigger,
        "rank": spec.rank,
        "alpha": int(spec.alpha) if spec.alpha.is_integer() else spec.alpha,
        "rslora": spec.rslora,
        "network": spec.network,
        "resolution": list(spec.resolution),
        "target_modules": spec.target_modules if isinstance(spec.target_modules, str) else list(spec.target_modules),
        "text_encoders": list(trained.text_encoders),
        "prediction": trained.predicts,
        "zero_terminal_snr": trained.zero_snr,
        "steps": trained.steps,
        "dataset_digest": job.records.digest,
        "seed": job.seed,
    }
    scale = spec.alpha / spec.rank if spec.network == "lokr" else spec.scale
    save_lora(
        ctx.staging,
        trained.weights,
        described,
        scale=scale,
        adapter_metadata=trained.adapter_metadata,
        magnitudes=trained.magnitudes,
    )
    for name in (LAST, REACHED):
        (ctx.staging / name).unlink(missing_ok=True)
    facts: dict[str, Json] = {
        name: described[name]
        for name in ("family", "base_model", "trigger", "rank", "alpha", "steps", "prediction", "zero_terminal_snr")
    }
    facts |= {"validation_loss": trained.validation_loss, "training_loss": trained.training_loss}
    facts |= {"network": spec.network, "images": len(job.records.train)}
    return Outputs(artifacts=artifacts(ctx.staging), facts=facts, notes=trained.notes)
