"""LoRA weights: learnt from a dataset's images and captions on top of a base model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anyio.to_thread

from specrun.errors import NodeError
from specrun.kinds.base_model import base_differences, base_observed
from specrun.kinds.evaluations.field import field_writers
from specrun.kinds.lora_jobs.checks import base_problems, dataset_problems, mask_problems, missing_masks
from specrun.kinds.lora_jobs.remote.backends import (
    BUDGET_HINT,
    ComfyBackend,
    ReplicateBackend,
    cost,
    measured_s,
    over_budget,
    remote_problems,
)
from specrun.kinds.lora_jobs.spec import DiffusersBackend, LoraJobSpec, result_config
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord, Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Need, Problem, Ref
from specrun.spec.quantities import duration_s
from specrun.training.lora import estimates
from specrun.training.lora.base import FAMILY_TITLES, FamilyName
from specrun.training.lora.presets import PRESETS
from specrun.training.lora.reached import reached
from specrun.training.lora.rules import gpu_count, rule_problems


class LoraJob(Kind):
    Spec = LoraJobSpec
    worker = "process"
    uses_seed = True
    keeps = 2
    resources: ClassVar[Resources] = Resources(gpus=1, cpus=8.0)
    packages = ("diffusers", "peft", "transformers", "torch", "safetensors")

    def check(self, spec: LoraJobSpec, lookup: Lookup) -> Sequence[Problem]:
        if not isinstance(spec.backend, DiffusersBackend):
            return [*remote_problems(spec, spec.backend, lookup), *dataset_problems(spec, lookup)]
        found = [*rule_problems(spec), *dataset_problems(spec, lookup), *mask_problems(spec, lookup)]
        return [*found, *base_problems(spec, lookup)]

    def inputs(self, spec: LoraJobSpec) -> Sequence[Need]:
        masks = (f"field:{spec.masked_loss.label_field}",) if spec.masked_loss is not None else ()
        needs = [Need("dataset", Ref("datasets").address(spec.dataset), ("media", "split", "captions", *masks))]
        if not isinstance(spec.backend, DiffusersBackend):
            needs.append(Need("connection", Ref("connections").address(spec.backend.connection)))
        return needs

    def needs(self, spec: LoraJobSpec, lookup: Lookup) -> Sequence[Need]:
        """Predictions that write the masks come first."""
        inputs = list(self.inputs(spec))
        if spec.masked_loss is not None and spec.backend.kind == "diffusers":
            writers = field_writers(Ref("datasets").address(spec.dataset), lookup)
            writer = writers.get(spec.masked_loss.label_field, "")
            inputs += [Need("masks_by", writer)] if writer.startswith("predictions.") else []
        return inputs

    def external(self, spec: LoraJobSpec) -> bool:
        """It spends money."""
        return isinstance(spec.backend, ReplicateBackend)

    async def observe(self, spec: LoraJobSpec, look: Look) -> Observation:
        """The content of a local base model; how many steps there will be; for money, what it may cost."""
        if not isinstance(spec.backend, DiffusersBackend):
            return Observation(value={"base_model": spec.base_model}, foreseen=tuple(_remote_notes(spec, look)))
        masks = await anyio.to_thread.run_sync(missing_masks, spec, look)
        foreseen = (*masks, *foreseen_of(spec, look, gpu_sizes_mib()))
        value = await base_observed(spec.base_model, spec.base_config, look)
        differences = base_differences(value, look, spec.base_model)
        return Observation(value=value, differences=differences, foreseen=foreseen)

    def estimate(self, spec: LoraJobSpec, last: NodeRecord | None) -> Estimate:
        if not isinstance(spec.backend, DiffusersBackend):
            return remote_estimate(spec.backend, last)
        return local_estimate(spec, last, gpu_sizes_mib())

    def resume_key(self, spec: LoraJobSpec) -> Json:
        """All that decides the weights: a checkpoint goes on only under the settings that it began with."""
        return result_config(spec) if isinstance(spec.backend, DiffusersBackend) else remote_config(spec)

    def goes_on(self, spec: LoraJobSpec, staging: Path) -> str:
        if not isinstance(spec.backend, DiffusersBackend):
            return ""
        step = reached(staging) if spec.resume == "auto" else 0
        return f"goes on after step {step:,}" if step else "begins anew"

    def adopt(self, spec: LoraJobSpec, place: Path, staging: Path) -> Outputs:
        raise NodeError(
            f"{place} cannot be adopted: weights made elsewhere do not say how they were trained.",
            hint="Name the file where it is used: generations take it as a file of backend.loras.",
        )

    def run(self, spec: LoraJobSpec, ctx: Context) -> Outputs:
        # torch and diffusers come with them.
        match spec.backend:
            case DiffusersBackend():
                ctx.progress(0, None, phase="starting PyTorch")
                from specrun.kinds.lora_jobs.run import trained_here

                return trained_here(spec, ctx)
            case ComfyBackend() as backend:
                from specrun.kinds.lora_jobs.remote import comfyui
                from specrun.kinds.lora_jobs.remote.finished import make_job

                return comfyui.train(spec, backend, make_job(spec, remote_config(spec), ctx), ctx)
            case ReplicateBackend() as backend:
                from specrun.kinds.lora_jobs.remote import replicate
                from specrun.kinds.lora_jobs.remote.finished import make_job

                return replicate.train(spec, backend, make_job(spec, remote_config(spec), ctx), ctx)


_WAITING = {"budget", "price_per_second", "expected", "on_stop", "poll", "deadline", "hardware"}


def remote_config(spec: LoraJobSpec) -> dict[str, Any]:
    """What decides the weights where they are trained elsewhere."""
    return {**result_config(spec), "backend": spec.backend.model_dump(mode="json", exclude=_WAITING)}


def local_estimate(spec: LoraJobSpec, last: NodeRecord | None, gpus_mib: Sequence[float]) -> Estimate:
    """The last duration in proportion to the steps, or else by rule. The rule is of GPUs: it says nothing of a
    machine that has none. Memory is always by rule."""
    family = _family(last.facts if last else {}, spec)
    memory = estimates.needed_mib(spec, family) if gpus_mib else None
    steps = last.facts.get("steps") if last else None
    if last is not None and isinstance(steps, int) and steps:
        now = spec.max_steps or steps
        return Estimate(last.duration_s * now / steps, f"last run: {steps} steps", memory)
    if not gpus_mib:
        return Estimate(source="on the CPU: no GPU here")
    if spec.max_steps is None:
        return Estimate(gpu_memory_mib=memory, source=estimates.RULE)
    return Estimate(estimates.needed_seconds(spec, family, spec.max_steps), estimates.RULE, memory)


def remote_estimate(backend: ComfyBackend | ReplicateBackend, last: NodeRecord | None) -> Estimate:
    if last is not None:
        return Estimate(last.duration_s, "last run")
    if isinstance(backend, ReplicateBackend):
        return Estimate(duration_s(backend.expected), "backend.expected")
    return Estimate()


def _remote_notes(spec: LoraJobSpec, look: Look) -> list[str]:
    """Raises NodeError: by what the last training took, the next one is above its budget."""
    if not isinstance(spec.backend, ReplicateBackend):
        return []
    record = look.record
    measured = measured_s(record.facts, _remote_steps(spec, record.facts)) if record else None
    message = over_budget(spec.backend, measured)
    # A job that is as it was is not trained anew; should its images have changed, the run refuses to start it.
    if message and not (record and _is_as_made(spec, record)):
        raise NodeError(f"backend.budget: {message}.", hint=BUDGET_HINT)
    amount, rule = cost(spec.backend, measured)
    return [message or f"about ${amount:.2f} ({rule})"]


def _remote_steps(spec: LoraJobSpec, facts: Mapping[str, Json]) -> int | None:
    """With the images of the last training."""
    images = facts.get("images")
    return spec.max_steps or (-(-images // spec.batch) * spec.epochs if isinstance(images, int) else None)


def _is_as_made(spec: LoraJobSpec, record: NodeRecord) -> bool:
    return all(record.result_config.get(name) == value for name, value in remote_config(spec).items())


def _family(facts: Mapping[str, Json], spec: LoraJobSpec) -> FamilyName:
    told = next((family for family in FAMILY_TITLES if family == facts.get("family")), None)
    return told or estimates.guess_family(f"{spec.base_model} {spec.preset or ''}")


def gpu_sizes_mib() -> list[float]:
    """Memory of this machine's GPUs; empty where there are none or nobody can say."""
    try:
        import pynvml  # a driver's library comes with it

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**20 for handle in handles]
    except Exception:  # pynvml's own tree, its absence, a driver that is not there
        return []


def memory_notes(spec: LoraJobSpec, family: FamilyName, gpus_mib: Sequence[float]) -> list[str]:
    """What would have to change for the job to fit on the largest GPU."""
    needed = estimates.needed_mib(spec, family)
    if not gpus_mib or needed <= max(gpus_mib):
        return []
    largest = max(gpus_mib)
    advice = estimates.advice(spec, family, fits_mib=largest)
    return [f"needs {needed / 1024:.0f} GiB by rule, the GPU has {largest / 1024:.0f} GiB. {advice}"]


def foreseen_of(spec: LoraJobSpec, look: Look, gpus_mib: Sequence[float]) -> list[str]:
    """What a training that is to come is made of, and what it would need."""
    told = look.record.facts if look.record else {}
    found = [f"preset {spec.preset}: {values}"] if (values := preset_values(spec)) else []
    images = (look.facts(Ref("datasets").address(spec.dataset)) or {}).get("images")
    if isinstance(images, int) and images:
        timed = bool(gpus_mib) and local_estimate(spec, look.record, gpus_mib).seconds is None
        found += _steps_notes(spec, images, _family(told, spec), timed=timed)
    return [*found, *memory_notes(spec, _family(told, spec), gpus_mib)]


def preset_values(spec: LoraJobSpec) -> str:
    """What the preset sets, as YAML writes it; not where the spec says something else. "" without a preset."""
    now = spec.model_dump(mode="json")
    preset = PRESETS.get(spec.preset or "", {})
    return ", ".join(f"{name} {as_yaml(value)}" for name, value in preset.items() if now[name] == value)


def as_yaml(value: Json) -> str:
    """`8`, `false`, `[768, 768]`: also of a float that is whole."""
    if isinstance(value, str):
        return value
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, ensure_ascii=False)  # type: ignore[arg-type]


def _steps_notes(spec: LoraJobSpec, images: int, family: FamilyName, *, timed: bool) -> list[str]:
    """By area, since shapes are not looked at here. timed: with how long they take by rule."""
    share = spec.validation.split if spec.validation is not None else 0.0
    learnt = max(1, images - round(images * share))
    at_once = spec.batch * spec.gradient_accumulation * gpu_count(spec)
    fewer = [f"batch: {spec.batch} is more than the {learnt} images to learn"] if spec.batch > learnt else []
    steps = spec.max_steps or -(-learnt // at_once) * spec.epochs
    minutes = estimates.needed_seconds(spec, family, steps) / 60
    rule = f", about {max(1, round(minutes))} min by a {estimates.RULE}" if timed else ""
    return [*fewer, f"about {steps:,} steps of {at_once} images{rule}"]
