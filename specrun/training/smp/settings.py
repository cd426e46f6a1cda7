"""What a user may write under `train` and `augment` of a model of kind smp."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from specrun.spec.kind import NOT_RESULT, Duration, Strict

Side = Annotated[int, Field(ge=8, le=65535)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
LossName = Literal["dice", "cross_entropy", "focal", "lovasz", "tversky", "jaccard", "dice_ce", "focal_dice"]
Mode = Literal["auto", "binary", "multiclass", "multilabel"]


class LossSpec(Strict):
    """One term of a sum of losses."""

    name: LossName
    """Which loss."""
    weight: float = Field(default=1.0, gt=0)
    """Its share in the sum."""
    alpha: float | None = Field(default=None, ge=0)
    """tversky: weight of false positives (0.5). focal, one class: weight of the class itself."""
    beta: float | None = Field(default=None, ge=0)
    """tversky: weight of false negatives (0.5)."""
    gamma: float | None = Field(default=None, ge=0)
    """focal: how much easy pixels count less (2). tversky: exponent of the focal variant (1)."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """cross_entropy: share of the target that is spread over all classes."""


class OptimizerSpec(Strict):
    """What changes the weights."""

    name: str = "adamw"
    """Any optimizer of the installed torch."""
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate."""
    weight_decay: float | None = Field(default=None, ge=0)
    """null: torch's own for this optimizer."""
    encoder_lr: float | None = Field(default=None, gt=0)
    """Learning rate of the encoder; null: the same."""
    options: dict[str, JsonValue] = {}
    """Further arguments of the optimizer."""


class SchedulerSpec(Strict):
    """How the learning rate changes."""

    name: str = "cosine"
    """plateau | cosine | poly | step | onecycle | constant, or any scheduler of the installed torch (stepped each
    epoch)."""
    factor: float | None = Field(default=None, gt=0, lt=1)
    """plateau and step: what the rate is multiplied by (0.1)."""
    patience: int | None = Field(default=None, ge=0)
    """plateau: epochs without improvement (10)."""
    power: float | None = Field(default=None, gt=0)
    """poly: the exponent (0.9)."""
    every: int | None = Field(default=None, ge=1)
    """step: epochs between two steps (a third of all)."""
    min_lr: float = Field(default=0.0, ge=0)
    """plateau and cosine: the least rate."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """The rate rises in a line over these first epochs."""
    options: dict[str, JsonValue] = {}
    """Further arguments of a scheduler of torch."""


class EarlyStoppingSpec(Strict):
    """Ends training when nothing gets better."""

    monitor: str = "val/iou"
    """The metric. Without a validation split train/loss is watched instead."""
    patience: int = Field(default=10, ge=1)
    """Epochs without improvement."""
    min_delta: float = Field(default=0.0, ge=0)
    """Least change that counts as improvement."""


class CheckpointsSpec(Strict):
    """What is kept."""

    monitor: str = "val/iou"
    """The metric that says which epoch is best; val/loss and train/loss are better when lower. One that
    the validation split cannot tell, since no class of it occurs there, gives way to val/loss or train/loss."""
    top_k: int = Field(default=1, ge=1)
    """How many of the best epochs keep their weights."""
    last: bool = True
    """Keep the whole state after the last epoch in the output."""
    every: Duration = Field(default="5m", json_schema_extra=NOT_RESULT)
    """Longest time between two checkpoints inside a long epoch."""


class StatisticsOf(Strict):
    """Mean and standard deviation of red, green and blue, of values in [0, 1]."""

    mean: tuple[float, float, float]
    """Means."""
    std: tuple[Positive, Positive, Positive]
    """Standard deviations."""


class SmpTrainSpec(Strict):
    """How a segmentation model is trained."""

    epochs: int = Field(default=100, ge=1)
    """Times that every image is seen."""
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = 8
    """Images at a time on each of the `devices`. auto: the largest power of two that fits a GPU; 8 on the CPU."""
    accumulate: int = Field(default=1, ge=1)
    """Batches to a step of the optimizer."""
    image_size: tuple[Side, Side] = (512, 512)
    """Height and width that the model sees."""
    fit: Literal["resize", "letterbox", "crop"] = "resize"
    """How an image becomes image_size. resize: stretched. letterbox: keeps its shape, the rest is ignored.
    crop: a random window at full resolution; whole images are validated and predicted."""
    precision: Literal["auto", "32", "tf32", "bf16-mixed", "16-mixed", "bf16"] = "auto"
    """auto: bf16-mixed on a GPU that has it, else 32."""
    devices: int = Field(default=1, ge=1)
    """For how many GPUs (or processes on the CPU) `batch` is meant: `batch` times `devices` images at a time. As many
    are used unless `resources: {gpus: N}` says otherwise; these images are shared by as many as there are."""
    sync_batch_norm: bool = True
    """Several GPUs: batch normalisation over the images of all of them, as if they were one batch on one GPU. On the
    CPU each process normalises by its own."""
    loss: LossName | LossSpec | Annotated[list[LossName | LossSpec], Field(min_length=1)] = "dice_ce"
    """One loss, or several that are summed."""
    class_weights: Literal["auto"] | list[Positive] | dict[str, Positive] | None = None
    """Weight of each class in the loss: a list in the order of the export's classes (background included), a mapping
    of names (others 1), or auto: the inverse root of how many pixels it has."""
    optimizer: OptimizerSpec = OptimizerSpec()
    """The optimizer."""
    scheduler: SchedulerSpec | None = None
    """null: a constant learning rate."""
    clip: float | None = Field(default=None, gt=0)
    """Greatest norm of the gradient."""
    early_stopping: EarlyStoppingSpec | None = None
    """null: all epochs."""
    checkpoints: CheckpointsSpec = Field(default=CheckpointsSpec())
    """What is kept."""
    freeze_encoder: bool = False
    """Train decoder and head alone."""
    normalize: Literal["train", "encoder", "imagenet", "none"] | StatisticsOf = "train"
    """Where mean and standard deviation come from: the training split, the encoder's weights, ImageNet."""
    channels_last: bool = True
    """Memory layout that is faster for convolutions on GPUs."""
    compile: bool = False
    """torch.compile: minutes at first, then faster on GPUs."""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(default="auto", json_schema_extra=NOT_RESULT)
    """Processes that load images."""
    cache: Literal["auto", "memory", "none"] = Field(default="auto", json_schema_extra=NOT_RESULT)
    """auto: decoded images stay in memory if they take less than a quarter of what is free."""
    on_oom: Literal["fail", "halve"] = Field(default="fail", json_schema_extra=NOT_RESULT)
    """When a GPU runs out of memory. halve: go on with half the batch and twice the accumulation."""
    pictures: int = Field(default=4, ge=0, json_schema_extra=NOT_RESULT)
    """Images in the pictures of labels and predictions."""


class AugmentSpec(Strict):
    """Random changes of the training images; labels follow."""

    flip: Probability = 0.5
    """Chance of a mirror image, left to right."""
    flip_vertical: Probability = 0.0
    """Chance of one upside down."""
    rotate: float = Field(default=0.0, ge=0, le=180)
    """Greatest angle in degrees."""
    scale: tuple[Positive, Positive] | None = None
    """Least and greatest zoom, about the middle."""
    crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] | None = None
    """Least and greatest side of a random window, as a share of the image; it is stretched to the whole."""
    color_jitter: float = Field(default=0.0, ge=0, le=1)
    """Greatest change of brightness, contrast and saturation; hue by a tenth of it."""
    blur: Probability = 0.0
    """Chance of a Gaussian blur."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Greatest standard deviation of Gaussian noise, of values in [0, 1]."""
    mixup: Probability = 0.0
    """Chance that a batch is blended with itself in another order; the loss is that of both."""
    cutmix: Probability = 0.0
    """Chance that each image of a batch gets a rectangle of another."""
    mosaic: Probability = 0.0
    """Chance that an image is put together of four."""
