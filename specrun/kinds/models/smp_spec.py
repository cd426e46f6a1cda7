"""What a model of segmentation-models-pytorch is declared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from specrun.model.artifact import Artifact
from specrun.spec.kind import NOT_RESULT, Ref, SeededSpec
from specrun.training.smp.settings import AugmentSpec, Mode, SmpTrainSpec
from specrun.training.warm_start import start_file


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
