"""A LoRA training on a tiny base model, without a spec's file or a database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from specrun.kinds.lora_jobs.pixels import pixels
from specrun.kinds.lora_jobs.spec import LoraJobSpec, result_config
from specrun.model.digest import json_digest
from specrun.model.labels import Sample
from specrun.run.context import WorkerContext
from tests.support.context import make_context
from tests.support.fake_dataset import sample_on_disk

SMALL: dict[str, Any] = {
    "dataset": "reef",
    "resolution": (64, 64),
    "bucket_step": 32,
    "rank": 4,
    "alpha": 2,
    "batch": 2,
    "gradient_accumulation": 1,
    "gradient_checkpointing": False,
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "mixed_precision": "no",
    "lr_scheduler": "constant",
    "max_steps": 3,
    "validation": None,
    "samples": None,
}


def pictures(folder: Path, sizes_wh: tuple[tuple[int, int], ...] = ((64, 64), (128, 64), (96, 96))) -> list[Sample]:
    """Noise of each size, with a caption."""
    found = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(sizes_wh):
        noise = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
        fields = {"caption": f"a reef, number {number}"}
        found.append(sample_on_disk(folder, f"{number}.png", size_wh=(width, height), fields=fields))
    return found


def small_spec(base: Path, **changes: Any) -> LoraJobSpec:
    return LoraJobSpec(**{**SMALL, "base_model": str(base), **changes})


def make_job(folder: Path, spec: LoraJobSpec, samples: list[Sample], **changes: Any) -> tuple[Any, WorkerContext]:
    """The job, and a context whose staging is its folder."""
    from specrun.training.lora.base import find_base
    from specrun.training.lora.records import choose
    from specrun.training.lora.trainer import Job

    folder.mkdir(parents=True, exist_ok=True)
    ctx = make_context(folder, "lora_jobs.x", **changes)
    base = find_base(spec.base_model, spec.base_config, folder)
    records = choose(samples, spec, ctx.seed)
    key = json_digest([result_config(spec), base.digest, records.digest])
    values = {
        "spec": spec,
        "base": base,
        "records": records,
        "pixels": pixels(),
        "folder": ctx.staging,
        "cache": ctx.cache_dir,
    }
    return Job(**values, key=key, seed=ctx.seed, on_gpu=False), ctx
