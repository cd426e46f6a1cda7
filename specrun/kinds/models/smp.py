"""A semantic segmentation model of segmentation-models-pytorch: trained on an mmseg export, or given weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import anyio.to_thread
from pydantic import Field, JsonValue

from specrun.errors import NodeError
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.plan import Estimate
from specrun.model.state import NodeRecord, Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import NOT_RESULT, Kind, Lookup, Need, Problem, Ref, SeededSpec
from specrun.training.less_work import estimate_of_change
from specrun.training.smp.checkpoints import words_going_on
from specrun.training.smp.settings import AugmentSpec, Mode, SmpTrainSpec
from specrun.training.warm_start import start_file, start_needs


class SmpSpec(SeededSpec):
    """Semantic segmentation."""

    arch: str = "Unet"
    """Any architecture of the installed segmentation-models-pytorch."""
    encoder: str = "resnet34"
    """Any of its encoders, or of timm's with tu- before the name. DPT takes vision transformers, DINOv2 too."""
    encoder_weights: str | bool | None = "imagenet"
    """Name of pretrained weights, fetched from the Hub; true for timm's own; a file (.safetensors); null: none."""
    arch_options: dict[str, JsonValue] = {}
    """Further arguments of the architecture: decoder_channels, decoder_attention_type and so on."""
    mode: Mode = "auto"
    """multiclass: classes exclude each other. multilabel: each is asked for alone, they may overlap. binary: one
    class and the background. auto: binary for one class, else multiclass."""
    checkpoint: str | None = None
    """Weights that exist already: nothing is trained. A file (.safetensors, .ckpt, .pt, .pth) or a folder written by
    save_pretrained."""
    classes: list[str] | None = None
    """With `checkpoint`: the classes in the order of its channels, where the checkpoint does not say."""
    background: int | None = 0
    """With `checkpoint`: which channel is the background; null: none."""
    start_from: str | None = None
    """Weights to begin with: previous (the last output), models.x or a path. Classes with the same name keep what was
    learnt."""
    data: Annotated[str | None, Ref("exports")] = None
    """The mmseg export to train on."""
    train: SmpTrainSpec = SmpTrainSpec()
    """How it is trained."""
    augment: AugmentSpec = AugmentSpec()
    """Random changes of the training images."""
    resume: Literal["auto", "never"] = Field(default="auto", json_schema_extra=NOT_RESULT)
    """auto: an interrupted training goes on from its last checkpoint, and a finished one when more epochs are wanted.
    never: it starts over."""
    export: dict[str, dict[str, JsonValue]] = Field(default={})
    """Other formats to write the best weights in: torchscript, onnx."""


class Smp(Kind):
    Spec = SmpSpec
    worker = "process"
    uses_seed = True
    keeps = 2
    resources: ClassVar[Resources] = Resources(gpus=1, cpus=8.0)
    packages = ("segmentation-models-pytorch", "lightning", "torch", "torchvision", "timm")

    def check(self, spec: SmpSpec, lookup: Lookup) -> Sequence[Problem]:
        # Reads the lists of the installed packages.
        from specrun.kinds.models.smp_check import smp_problems

        return smp_problems(spec, lookup)

    def reports(self, spec: SmpSpec) -> Sequence[str]:
        from specrun.training.smp.names import METRICS, METRICS_BY_CLASS

        return (*METRICS, METRICS_BY_CLASS) if spec.checkpoint is None else ()

    def inputs(self, spec: SmpSpec) -> Sequence[Need]:
        needs = [Need("data", Ref("exports").address(spec.data))] if spec.data else []
        return [*needs, *start_needs(spec.start_from)]

    async def observe(self, spec: SmpSpec, look: Look) -> Observation:
        """The content of the files that the spec names."""
        value: dict[str, Json] = {}
        differences = []
        before = look.record.observation if look.record else None
        for name, text in named_files(spec).items():
            path = look.project_dir / text
            if path.is_dir():
                digest: Json = (await anyio.to_thread.run_sync(look.listing, path)).digest
            elif path.suffix or name != "encoder_weights":
                digest = await anyio.to_thread.run_sync(look.file_digest, path)
            else:
                continue
            value[name] = digest
            if isinstance(before, dict) and before.get(name) != digest:
                differences.append(f"{name}: {text} changed")
        return Observation(value=value, differences=tuple(differences))

    def estimate(self, spec: SmpSpec, last: NodeRecord | None) -> Estimate:
        """The last duration, in proportion to the epochs."""
        found = super().estimate(spec, last)
        before = last.facts.get("epochs") if last else None
        if found.seconds is None or not isinstance(before, int) or before in (0, spec.train.epochs):
            return found
        return Estimate(seconds=found.seconds * spec.train.epochs / before, source=f"last run: {before} epochs")

    def estimate_of_change(self, spec: SmpSpec, last: NodeRecord, changed: Sequence[str]) -> Estimate | None:
        return estimate_of_change(last, changed, epochs=spec.train.epochs, resume=spec.resume)

    def wants(self, spec: SmpSpec) -> Resources:
        """A GPU a device, and the cores that load its images."""
        devices = spec.train.devices
        return replace(self.resources, gpus=devices, cpus=self.resources.cpus * devices)

    def resume_key(self, spec: SmpSpec) -> Json:
        """All of it but the epochs: a checkpoint goes on only under the settings that it began with."""
        return result_config(spec)

    def goes_on(self, spec: SmpSpec, staging: Path) -> str:
        return words_going_on(staging, spec.train.epochs) if spec.resume == "auto" else "begins anew"

    def adopt(self, spec: SmpSpec, place: Path, staging: Path) -> Outputs:
        raise NodeError(
            f"{place} cannot be adopted as it is", hint=f"Declare it instead: checkpoint: {place}, with classes."
        )

    def run(self, spec: SmpSpec, ctx: Context) -> Outputs:
        ctx.progress(0, None, phase="starting PyTorch and Lightning")
        # torch and Lightning come with these.
        from specrun.kinds.models.smp_run import given, trained

        return trained(spec, ctx) if spec.checkpoint is None else given(spec, ctx)


def named_files(spec: SmpSpec) -> dict[str, str]:
    files = {}
    if spec.checkpoint is not None:
        files["checkpoint"] = spec.checkpoint
    if (start := start_file(spec.start_from)) is not None:
        files["start_from"] = start
    if isinstance(spec.encoder_weights, str) and ("/" in spec.encoder_weights or "." in spec.encoder_weights):
        files["encoder_weights"] = spec.encoder_weights
    return files


def result_config(spec: SmpSpec) -> dict[str, Any]:
    """What decides the weights, as JSON; `export`, what only changes the speed, how many epochs there are, since
    a training goes on when more are wanted, and how many devices share the images, are not part of it."""
    content = spec.model_dump(
        mode="json",
        include={
            "arch",
            "encoder",
            "encoder_weights",
            "arch_options",
            "mode",
            "start_from",
            "data",
            "train",
            "augment",
        },
    )
    for name in ("epochs", "workers", "cache", "pictures", "on_oom"):
        del content["train"][name]
    del content["train"]["checkpoints"]["every"]
    batch, devices = content["train"].pop("batch"), content["train"].pop("devices")
    content["train"]["images"] = batch * devices if isinstance(batch, int) else [batch, devices]
    return content


def artifacts(made: Sequence[str], *, last: bool) -> tuple[Artifact, ...]:
    found = [Artifact("best", "checkpoint", "weights/best.safetensors"), Artifact("model", "file", "model.json")]
    if last:
        found.append(Artifact("last", "checkpoint", "weights/last.ckpt"))
    return (
        *found,
        *(Artifact(Path(place).stem if "/" not in place else Path(place).suffix[1:], "file", place) for place in made),
    )
