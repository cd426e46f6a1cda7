"""What generations are declared with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.kinds.generations.loras import LocalLora, Weight
from specrun.spec.kind import NOT_RESULT, Duration, NodeSpec, Problem, Ref, Strict
from specrun.spec.suggest import listed

STEP = 8
FLUX_STEP = 16
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class WeightedLora(Strict):
    """One of several LoRAs."""

    lora: Annotated[str, Ref("lora_jobs", bare=True)]
    """A lora job."""
    weight: Weight = 1.0
    """How much of it is added."""


class VideoOutput(Strict):
    """The pictures as a film."""

    fps: float = Field(gt=0, le=240)
    """Pictures a second."""


class DiffusersGeneration(Strict):
    """Made on this machine with diffusers."""

    kind: Literal["diffusers"] = "diffusers"
    """diffusers."""
    loras: list[LocalLora] = []
    """LoRA weights made elsewhere, besides those of `lora`."""


class ServerLora(Strict):
    """LoRA weights that a ComfyUI server has."""

    file: str
    """As the server lists it (models/loras); its folder and ending may be left out."""
    weight: Weight = 1.0
    """How much of it is added."""


class ComfyGeneration(Strict):
    """Made by a ComfyUI server."""

    kind: Literal["comfyui"]
    """comfyui."""
    connection: Annotated[str, Ref("connections")]
    """The server or servers, of kind comfyui."""
    checkpoint: str
    """The base model's file, as the server lists it; its folder and ending may be left out."""
    loras: list[ServerLora] = []
    """LoRA weights that the servers have already, besides those of `lora`, which are uploaded."""
    poll: Duration = Field(default="2s", json_schema_extra=NOT_RESULT)
    """Time from one look at a prompt to the next; progress comes at once."""
    deadline: Duration = Field(default="1h", json_schema_extra=NOT_RESULT)
    """A prompt that has not ended by then is reported, and left alone."""


class GenerationSpec(NodeSpec):
    lora: Annotated[str, Ref("lora_jobs", bare=True)] | list[WeightedLora] | None = None
    """A lora job, or several with weights; null: the base model alone."""
    base_model: str | None = None
    """A folder, a single file or a model of the Hub; null: the one that the LoRA was trained on."""
    base_config: str | None = None
    """With a single file: a folder with the configuration of its family."""
    prompts: list[str] = Field(min_length=1)
    """What the pictures show, one after the other."""
    negative_prompt: str = ""
    """What they do not show."""
    from_: Annotated[str, Ref("sources", "datasets")] | None = Field(default=None, alias="from")
    """A source whose pictures are changed, such as the frames of a video; null: made from words alone."""
    strength: float = Field(default=0.6, gt=0, le=1)
    """With `from`: how much a picture is changed; 1 keeps nothing of it."""
    limit: int | None = Field(default=None, ge=1)
    """With `from`: at most so many of its pictures, the first ones."""
    count: int = Field(default=1, ge=1, le=10_000)
    """So many pictures of each prompt, with seeds from `seed` on."""
    seed: Seed = 42
    """The first seed."""
    seeds: list[Seed] | None = Field(default=None, min_length=1)
    """These seeds, instead of `seed` and `count`."""
    steps: int = Field(default=30, ge=1, le=1000)
    """Denoising steps."""
    guidance: float | None = Field(default=None, ge=0, le=100)
    """How closely the prompt is followed; 1 and less: without the negative prompt. null: 7.5, for FLUX 3.5."""
    size: tuple[int, int] | None = None
    """Width and height, multiples of 8; null: of the picture, or the LoRA's resolution."""
    batch: int = Field(default=1, ge=1, le=256)
    """Pictures made at once; on a ComfyUI server: asked for in one prompt."""
    scheduler: Literal["auto", "ddim", "euler", "euler_a", "dpm++_2m", "unipc", "lms", "heun", "pndm"] = "auto"
    """How noise becomes a picture; auto: the base model's own."""
    prediction: Literal["auto", "epsilon", "v_prediction"] = "auto"
    """What the base model predicts; auto: what the LoRA was trained for, or else what the base's scheduler says."""
    zero_terminal_snr: bool | None = None
    """Pictures begin with noise alone; null: as the LoRA was trained, or else what the base's scheduler says."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """auto: fp16 on a GPU, fp32 on the CPU."""
    video: VideoOutput | None = None
    """The pictures in their order as video.mp4, with `from` one for each prompt, seed and clip; null: none."""
    contact_sheet: bool = True
    """A sheet of all of them."""
    black: Literal["warn", "fail"] = Field(default="warn", json_schema_extra=NOT_RESULT)
    """What happens when a picture is black: the numbers overflowed, or a safety filter struck it out."""
    backend: Annotated[DiffusersGeneration | ComfyGeneration, Field(discriminator="kind")] = DiffusersGeneration()
    """Where they are made."""

    @property
    def loras(self) -> list[WeightedLora]:
        if self.lora is None:
            return []
        return [WeightedLora(lora=self.lora)] if isinstance(self.lora, str) else list(self.lora)

    @property
    def chosen_seeds(self) -> list[int]:
        return list(self.seeds) if self.seeds is not None else [self.seed + i for i in range(self.count)]


def size_problem(size_wh: tuple[int, int], step: int) -> Problem | None:
    """With the nearest sizes that there are."""
    sides = [
        (name, side) for name, side in zip(("width", "height"), size_wh, strict=True) if side < step or side % step
    ]
    if not sides:
        return None
    said = []
    for name, side in sides:
        below = side // step * step
        said.append(f"{name} {f'{below} or ' if below >= step else ''}{max(below, 0) + step}")
    wrong = listed([f"the {name} {side}" for name, side in sides], "and")
    message = f"{wrong} {'is' if len(sides) == 1 else 'are'} no multiple of {step}."
    return Problem("size", message[0].upper() + message[1:], f"Write {listed(said, 'and')}.")


def lora_facts(made: Any) -> dict[str, Any]:
    """What lora.json of a finished job says. Raises OSError, ValueError."""
    import json  # workers only

    return dict(json.loads((made.folder / "lora.json").read_text(encoding="utf-8")))
