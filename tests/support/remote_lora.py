"""LoRA jobs at server doubles, without a spec's file or a database."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from specrun.kinds.lora_jobs.lora import remote_config
from specrun.kinds.lora_jobs.remote.finished import Job
from specrun.kinds.lora_jobs.spec import LoraJobSpec
from specrun.model.digest import json_digest
from specrun.run.context import WorkerContext
from specrun.training.lora.records import choose
from tests.support.context import DictMemory, make_context
from tests.support.lora_training import SMALL, pictures

FAST = {"retry": {"max_attempts": 2, "initial_delay": "10ms", "max_delay": "20ms"}}


def comfy_weights(rank: int = 4) -> bytes:
    """As ComfyUI's trainer saves them: names of the original UNet, alpha 1, changes of norms."""
    import torch
    from safetensors.torch import save

    torch.manual_seed(0)
    layer = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k"
    found = {
        f"{layer}.lora_up.weight": torch.randn(8, rank),
        f"{layer}.lora_down.weight": torch.randn(rank, 768),
        f"{layer}.alpha": torch.tensor(1.0),
        "diffusion_model.out.0.diff": torch.zeros(8),
    }
    return save(found)


def old_diffusers_tar(rank: int = 4) -> bytes:
    """As the SDXL trainer of Replicate delivers them."""
    import torch
    from safetensors.torch import save

    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora"
    data = save({f"{layer}.up.weight": torch.randn(8, rank), f"{layer}.down.weight": torch.randn(rank, 2048)})
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        info = tarfile.TarInfo("lora.safetensors")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def comfy_spec(**changes: Any) -> LoraJobSpec:
    backend = {"kind": "comfyui", "connection": "comfy", "checkpoint": "tiny.safetensors", "poll": "50ms"}
    backend |= changes.pop("backend", {})
    return LoraJobSpec(**{**SMALL, "base_model": "org/sd", "backend": backend, **changes})


def cloud_spec(**changes: Any) -> LoraJobSpec:
    backend = {"kind": "replicate", "connection": "cloud", "owner": "me", "poll": "20ms", **changes.pop("backend", {})}
    return LoraJobSpec(**{**SMALL, "base_model": "org/sdxl", "max_steps": 20, "backend": backend, **changes})


def comfy_declared(*urls: str, max_jobs: int = 1) -> dict[str, Any]:
    told = {"url": list(urls), "max_jobs": max_jobs, "token": None, "timeout": "5s", "verify_tls": True}
    return {"connections.comfy": told}


def cloud_declared(url: str) -> dict[str, Any]:
    return {"connections.cloud": {"url": url, "token": {"env": "REPLICATE_API_TOKEN"}, "timeout": "5s"}}


def context(folder: Path, declared: dict[str, Any], **changes: Any) -> WorkerContext:
    values = {"declarations": declared, "settings": FAST, "memory": DictMemory(), **changes}
    return make_context(folder, "lora_jobs.reef", **values)


def job(folder: Path, spec: LoraJobSpec, ctx: WorkerContext) -> Job:
    records = choose(pictures(folder / "images"), spec.model_copy(update={"validation": None}), ctx.seed)
    key = json_digest([remote_config(spec), records.digest, ctx.seed])
    return Job(spec, records, key, ctx.seed)
