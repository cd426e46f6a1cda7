"""What a user may write for a LoRA job that is trained here. Light: planning imports this module."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from specrun.spec.kind import NOT_RESULT, Ref, SeededSpec, Strict
from specrun.training.lora.presets import PRESETS

Network = Literal["lora", "dora", "locon", "lokr"]
Optimizer = Literal["adamw", "adamw8bit", "prodigy", "adafactor"]
Schedule = Literal["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"]
Precision = Literal["bf16", "fp16", "no"]
SAMPLE_STEP = 64
"""Sides of sample pictures are multiples of it."""
Side = Annotated[int, Field(ge=64, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]
# Behind the validator of presets a list of YAML is one of Python, which pydantic takes for no tuple.
SizeWH = Annotated[tuple[Side, Side], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
Steps = Annotated[int, Field(ge=1)]


class PriorSpec(Strict):
    """Pictures of the class as the base model sees it, so that it is not forgotten."""

    class_prompt: str = Field(min_length=1)
    """What the base model is asked for: a photo of a reef."""
    images: int = Field(default=100, ge=1, le=10_000)
    """How many pictures it makes before training begins."""
    weight: float = Field(default=1.0, gt=0)
    """Their share in the loss."""


class ValidationSpec(Strict):
    """A loss at fixed timesteps and noise: it can be compared from step to step, unlike that of training."""

    split: float = Field(default=0.1, ge=0, lt=1)
    """Share of the images that is held back where the dataset has no split val; 0: none."""
    every: Steps = 250
    """Steps from one measurement to the next."""


class SamplesSpec(Strict):
    """Pictures made before, during and after training, with the same noise each time."""

    prompts: list[str] = Field(default=[], max_length=32)
    """What is asked for; empty: the trigger."""
    every: Steps = 250
    """Steps from one row of the contact sheet to the next."""
    seed: int = Field(default=42, ge=0)
    """Of the noise that the pictures begin with."""
    steps: int = Field(default=20, ge=1, le=200)
    """Steps of each picture."""
    guidance: float | None = Field(default=None, ge=0)
    """How strictly the prompt is followed; null: 7, for FLUX 3.5."""
    negative_prompt: str = ""
    """What the pictures should not show."""
    size: SizeWH | None = None
    """Width and height; null: the resolution."""


class MaskSpec(Strict):
    """Which pixels the loss counts."""

    label_field: str
    """The dataset's field whose boxes, polygons and masks are learnt."""
    outside: Share = 0.0
    """Weight of the other pixels."""


class LoraTraining(SeededSpec):
    """The keys of a LoRA job that say how it is trained."""

    dataset: Annotated[str, Ref("datasets")]
    """The dataset with images and captions."""
    base_model: str = Field(min_length=1)
    """A model of the Hub, a folder in the layout of diffusers, or a single file (.safetensors)."""
    base_config: str | None = None
    """With a single file: the folder (or model of the Hub) that has its configuration and tokenizers."""
    preset: Literal["efficient", "quality", "fast", "sd15", "sdxl", "flux"] | None = None
    """A set of values for the keys below; what is written beside it wins."""
    network: Network = "lora"
    """lora: low rank on linear layers. dora: direction and magnitude apart. locon: on convolutions too. lokr:
    Kronecker products (loads in PEFT and LyCORIS, not through load_lora_weights)."""
    rank: int = Field(default=16, ge=1, le=4096)
    """Width of the learnt matrices."""
    alpha: float = Field(default=16, gt=0)
    """Strength: the change counts alpha / rank."""
    rslora: bool = False
    """The change counts alpha / sqrt(rank), which keeps high ranks stable."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of a layer's inputs that is left out at random."""
    target_modules: Literal["attention", "all"] | list[str] = "attention"
    """attention: the projections of attention. all: every linear layer of the transformer blocks. Or names such as
    to_q and proj_in."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Of the denoiser."""
    text_encoder_learning_rate: float | None = Field(default=None, gt=0)
    """Of the text encoders; null: half the learning rate."""
    batch: int = Field(default=1, ge=1, le=1024)
    """Images at a time."""
    epochs: Steps = 10
    """How often every image is seen."""
    max_steps: Steps | None = None
    """Steps of the optimizer; takes the place of epochs."""
    resolution: SizeWH = (1024, 1024)
    """Width and height; with bucketing, the area of a picture."""
    bucketing: bool = True
    """Pictures keep nearly their shape and are never enlarged; false: each is cut to the resolution."""
    bucket_step: int = Field(default=64, ge=8, le=512, multiple_of=8)
    """Sides of pictures are multiples of it."""
    random_flip: bool = False
    """Mirrors half of the pictures."""
    random_crop: bool = False
    """Cuts at random places instead of the middle."""
    color_jitter: Share = 0.0
    """Random brightness and contrast, up to this share."""
    train_text_encoder: bool = False
    """Learns in the text encoders too (of FLUX in CLIP alone)."""
    clip_skip: int = Field(default=0, ge=0, le=11)
    """Last layers of the text encoder that are left out; not with FLUX."""
    gradient_accumulation: int = Field(default=4, ge=1)
    """Batches for each step of the optimizer."""
    gradient_checkpointing: bool = True
    """Computes again instead of keeping: less memory, about a fifth slower."""
    mixed_precision: Precision = "bf16"
    """bf16, fp16, or no: 32 bits. On the CPU always 32 bits."""
    optimizer: Optimizer = "adamw"
    """adamw8bit keeps its averages in 8 bits; prodigy finds the rate itself (write learning_rate: 1)."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Pull of the learnt weights towards nothing."""
    fused_backward: bool = False
    """adafactor alone: steps inside the backward pass, so that no gradients are kept; not with accumulation."""
    lr_scheduler: Schedule = "cosine"
    """How the learning rate falls."""
    lr_cycles: int = Field(default=1, ge=1)
    """cosine_with_restarts: how often it begins anew."""
    lr_power: float = Field(default=1.0, gt=0)
    """polynomial: its exponent."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rate grows from nothing."""
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    """Longer gradients are shortened to it; null: never."""
    min_snr_gamma: float | None = Field(default=None, gt=0)
    """Timesteps with little noise count less (5 is usual); null: all count the same."""
    noise_offset: float = Field(default=0.0, ge=0, le=1)
    """Shifts the noise of whole pictures, for darker darks."""
    prediction: Literal["auto", "epsilon", "v_prediction"] = "auto"
    """What the base model predicts; auto: what its scheduler says."""
    zero_terminal_snr: bool | None = None
    """The last timestep is noise alone; null: what the base model's scheduler says."""
    timestep_weighting: Literal["none", "sigma_sqrt", "logit_normal", "mode", "cosmap"] = "none"
    """FLUX alone: which timesteps are drawn more often (logit_normal, mode) or count more (sigma_sqrt, cosmap)."""
    embedded_guidance: float = Field(default=3.5, ge=0)
    """FLUX.1-dev and the like alone: the guidance that the model is told while it learns."""
    cache_latents: bool = True
    """Pictures go through the VAE once."""
    cache_text_embeddings: bool | None = None
    """Captions go through the text encoders once; null: wherever nothing speaks against it."""
    caption_dropout: Share = 0.0
    """Share of the captions that is left empty."""
    caption_shuffle: bool = False
    """The parts of a caption between commas change places."""
    keep_tokens: int = Field(default=1, ge=0)
    """caption_shuffle: so many parts stay in front."""
    long_captions: Literal["fail", "cut"] = "fail"
    """Captions above the tokens of the text encoder (77; 512 of FLUX): an error, or cut off."""
    uncaptioned: Literal["fail", "skip", "trigger"] = "fail"
    """Images without a caption: an error, left out, or learnt with the trigger alone."""
    prior_preservation: PriorSpec | None = None
    """Pictures of the class as the base model sees it, so that it is not forgotten."""
    masked_loss: MaskSpec | None = None
    """Which pixels the loss counts; null: all."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Weights averaged over time are saved, with this decay (0.999); null: the last ones."""
    validation: ValidationSpec | None = ValidationSpec()
    """A loss that can be compared from step to step."""
    samples: SamplesSpec | None = SamplesSpec()
    """Pictures that show progress."""
    save_every: Steps = Field(default=500, json_schema_extra=NOT_RESULT)
    """Steps from one checkpoint to the next."""
    keep_weights: int = Field(default=0, ge=0, le=100)
    """So many earlier weights stay in checkpoints/, those with the lowest validation loss (without one the newest)."""
    on_oom: Literal["fail", "halve"] = Field(default="fail", json_schema_extra=NOT_RESULT)
    """Out of memory. fail: say which settings need less. halve: half as many images at a time and twice the
    accumulation; a step takes as many images as before."""
    trigger: str | None = Field(default=None, min_length=1)
    """The word that calls what is learnt; noted with the weights, and put in front of captions that lack it."""
    compile: bool = Field(default=False, json_schema_extra=NOT_RESULT)
    """torch.compile for the denoiser: slow to begin, faster then."""
    resume: Literal["auto", "never"] = Field(default="auto", json_schema_extra=NOT_RESULT)
    """auto: an interrupted training goes on from its last checkpoint. never: it starts over."""

    @model_validator(mode="before")
    @classmethod
    def _resolve_preset(cls, written: Any) -> Any:
        """Values of the preset stand in the config as if they were written, so that the plan shows them."""
        if not isinstance(written, dict):
            return written
        preset = PRESETS.get(str(written.get("preset")), {})
        if "max_steps" in written or "epochs" in written:
            preset = {key: value for key, value in preset.items() if key not in ("max_steps", "epochs")}
        return {**preset, **written}

    @property
    def caches_text(self) -> bool:
        """Whether captions go through the text encoders once."""
        if self.cache_text_embeddings is not None:
            return self.cache_text_embeddings
        return not (self.train_text_encoder or self.caption_shuffle or self.caption_dropout)

    @property
    def text_rate(self) -> float:
        return self.text_encoder_learning_rate or self.learning_rate / 2

    @property
    def scale(self) -> float:
        """What the learnt change is multiplied by."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)
