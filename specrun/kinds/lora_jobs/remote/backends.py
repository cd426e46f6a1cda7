"""What a user may write for a LoRA job that is trained elsewhere, and what is wrong with it before it is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.spec.kind import NOT_RESULT, Duration, Lookup, NodeSpec, Problem, Ref, Strict
from specrun.spec.quantities import duration_s
from specrun.training.lora.settings import LoraTraining

OnStop = Literal["cancel", "leave"]
SDXL_TRAINER = "stability-ai/sdxl:39ed52f2a78e934b3ba6e2a89f5b1c712de7dfea535525255b1aa35c5565e08b"
_TRAINER = re.compile(r"([\w.-]+)/([\w.-]+):([0-9a-f]{64})")
_EVERYWHERE = {"dataset", "base_model", "backend", "preset", "rank", "learning_rate", "batch", "epochs", "max_steps"}
_EVERYWHERE |= {"resolution", "trigger", "uncaptioned", "network", "long_captions"}
_EVERYWHERE |= {"bucketing", "bucket_step"}
"""The pictures are made here, whoever learns from them."""
_COMFY = {
    *_EVERYWHERE,
    "gradient_accumulation",
    "gradient_checkpointing",
    "mixed_precision",
}
_COMFY |= {"optimizer"}
_COMFY_RANK = 128


class ComfyBackend(Strict):
    """Trained at a ComfyUI server, by ComfyUI's own training nodes."""

    kind: Literal["comfyui"]
    """comfyui."""
    connection: Annotated[str, Ref("connections")]
    """The connection with the server or servers."""
    checkpoint: str | None = None
    """File name of the base model as the server lists it; null: the last part of base_model."""
    on_stop: OnStop = Field(default="cancel", json_schema_extra=NOT_RESULT)
    """When the run is asked to stop: cancel ends the job at the server, leave lets it go on to be taken up later."""
    poll: Duration = Field(default="2s", json_schema_extra=NOT_RESULT)
    """Time from one look at the job to the next; progress comes at once."""
    deadline: Duration = Field(default="12h", json_schema_extra=NOT_RESULT)
    """A job that has not ended by then is reported, and left alone."""


class BudgetSpec(Strict):
    """What may be spent."""

    max_cost: float = Field(gt=0)
    """In US dollars. An estimate above it is an error when the plan is made."""


class ReplicateBackend(Strict):
    """Trained at Replicate, for money."""

    kind: Literal["replicate"]
    """replicate."""
    connection: Annotated[str, Ref("connections")]
    """The connection with the account's token."""
    owner: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    """The user or organization whose model the weights become a version of."""
    model: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name of that model, made (private) where there is none; null: the job's name."""
    trainer: str = SDXL_TRAINER
    """owner/name:version, with the whole version (64 hex digits), so that it stays the same trainer."""
    hardware: str = Field(default="gpu-l40s", json_schema_extra=NOT_RESULT)
    """Hardware of the model where it is made; a trainer chooses its own for training."""
    images_input: str = "input_images"
    """The trainer's input that takes the archive of images and captions."""
    input: dict[str, Any] = {}
    """Further inputs of the trainer, and other values for those that are filled in. null leaves one out."""
    budget: BudgetSpec | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """What may be spent on one training; null: no bound, it is asked all the same."""
    price_per_second: float = Field(default=0.0014, gt=0, json_schema_extra=NOT_RESULT)
    """US dollars a second of the trainer's hardware, as its page says."""
    expected: Duration = Field(default="30m", json_schema_extra=NOT_RESULT)
    """How long the training should take, until one of this job has been measured. Estimate: price times this."""
    on_stop: OnStop = Field(default="cancel", json_schema_extra=NOT_RESULT)
    """When the run is asked to stop: cancel ends the training, leave lets it go on (and cost) to be taken up later."""
    poll: Duration = Field(default="5s", json_schema_extra=NOT_RESULT)
    """Time from one look at the training to the next."""
    deadline: Duration = Field(default="12h", json_schema_extra=NOT_RESULT)
    """A training that has not ended by then is reported, and left alone."""

    @property
    def trainer_parts(self) -> tuple[str, str, str]:
        """Owner, name and version."""
        found = _TRAINER.fullmatch(self.trainer)
        assert found is not None, "checked before a run"
        return found[1], found[2], found[3]


RemoteBackend = ComfyBackend | ReplicateBackend


def cost(backend: ReplicateBackend, measured_s: float | None = None) -> tuple[float, str]:
    """US dollars, and by which rule."""
    seconds = measured_s if measured_s else duration_s(backend.expected)
    source = "by what the last training took" if measured_s else "expected"
    return seconds * backend.price_per_second, f"{seconds:,.0f} s {source} x ${backend.price_per_second:g} a second"


def measured_s(told: Mapping[str, Any], steps: int | None) -> float | None:
    """Seconds that so many steps should take by what the last training took; None: there was none.

    told: `billed_seconds` and `steps` of that one. steps: None: as many.
    """
    seconds, before = told.get("billed_seconds"), told.get("steps")
    if not isinstance(seconds, int | float):
        return None
    return float(seconds) * (steps / before if steps and isinstance(before, int) and before else 1)


BUDGET_HINT = "Raise max_cost, or train for fewer steps."


def over_budget(backend: ReplicateBackend, measured_s: float | None = None) -> str | None:
    """What to say of an estimate above the budget."""
    amount, rule = cost(backend, measured_s)
    if backend.budget is None or amount <= backend.budget.max_cost:
        return None
    return f"the training is estimated at ${amount:.2f} ({rule}), above max_cost ${backend.budget.max_cost:.2f}"


def remote_problems(spec: LoraTraining, backend: RemoteBackend, lookup: Lookup) -> Iterator[Problem]:
    kind = lookup.kind_of(Ref("connections").address(backend.connection))
    if kind is not None and kind != f"connections.{backend.kind}":
        hint = f"Name one with kind: {backend.kind}."
        yield Problem("backend.connection", f"{backend.connection} is no connection to {backend.kind}", hint)
    if spec.network != "lora":
        yield Problem(
            "network", f"{spec.network} cannot be trained by {backend.kind}", "Write network: lora, or train here."
        )
    match backend:
        case ComfyBackend():
            yield from _comfy_problems(spec)
        case ReplicateBackend():
            yield from _replicate_problems(backend)
    known = _COMFY if backend.kind == "comfyui" else _EVERYWHERE
    unknown = sorted(spec.model_fields_set - known - set(NodeSpec.model_fields))
    if unknown:
        hint = "Leave them out" + (", or give them as backend.input." if backend.kind == "replicate" else ".")
        yield Problem("backend", f"{backend.kind} knows nothing of {', '.join(unknown)}", hint, warning=True)


def _comfy_problems(spec: LoraTraining) -> Iterator[Problem]:
    if spec.rank > _COMFY_RANK:
        yield Problem("rank", f"ComfyUI trains ranks up to {_COMFY_RANK}", f"Write rank: {_COMFY_RANK} or less.")
    if spec.mixed_precision == "fp16":
        yield Problem("mixed_precision", "ComfyUI trains in bf16 or in 32 bits", "Write bf16, or no.")
    if spec.optimizer != "adamw":
        yield Problem("optimizer", f"ComfyUI's trainer has no {spec.optimizer}", "Write optimizer: adamw.")


def _replicate_problems(backend: ReplicateBackend) -> Iterator[Problem]:
    if _TRAINER.fullmatch(backend.trainer) is None:
        hint = "Write owner/name:version with the 64 hex digits that the trainer's page shows under Versions."
        yield Problem("backend.trainer", f"{backend.trainer} pins no version of a trainer", hint)
    if message := over_budget(backend):
        hint = "Raise max_cost, or correct expected and price_per_second."
        yield Problem("backend.budget", message, hint)
