"""What a base model is made of, and what a family must say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import nn

from specrun.errors import FormatError, NodeError
from specrun.training.lora.base import Base, FamilyName
from specrun.training.lora.noise import Noising
from specrun.training.lora.settings import LoraTraining

Text = dict[str, torch.Tensor]
"""What the text encoders say of captions, by name; the first dimension counts the captions."""
MAX_TOKENS = 512
"""For text encoders that would take any number: what FLUX was trained with."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """name: `text_encoder` or `text_encoder_2`, as pipelines and files name it. learns: with train_text_encoder."""

    name: str
    tokenizer: Any
    encoder: Any
    learns: bool = True


@dataclass(frozen=True, slots=True)
class Parts:
    """component: of the denoiser in pipelines and files. scheduler: of the base, for its settings and for pictures.
    marked: what a single file says of its prediction."""

    component: Literal["unet", "transformer"]
    denoiser: Any
    vae: Any
    text: tuple[TextPart, ...]
    scheduler: Any
    marked: tuple[str | None, bool | None] = (None, None)

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {self.component: self.denoiser, **{part.name: part.encoder for part in self.text}}


@dataclass(frozen=True, slots=True)
class Condition:
    """What a denoiser is told besides the text. sizes: (n, 4) original height and width, top and left of the crop.
    guidance: how strictly the prompt is followed, where the denoiser is told of it."""

    sizes: torch.Tensor
    guidance: float


class Family(Protocol):
    """guides_twice: guidance is the difference between a picture with and one without the prompt; else the denoiser
    is told of it. guidance: the usual one for pictures."""

    name: FamilyName
    guides_twice: bool
    guidance: float

    def load(self, base: Base, dtype: torch.dtype) -> Parts:
        """Raises FormatError: files are missing or do not fit."""
        ...

    def encode(self, parts: Parts, captions: Sequence[str], clip_skip: int) -> Text: ...

    def predict(
        self, denoiser: nn.Module, noisy: torch.Tensor, timesteps: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor: ...

    def noising(self, parts: Parts, spec: LoraTraining) -> Noising:
        """Raises NodeError: the base predicts what cannot be trained."""
        ...


def load_pipeline(kind: Any, base: Base, dtype: torch.dtype, **options: Any) -> Any:
    """A pipeline's parts, from a folder or a single file, without asking any server for a folder."""
    from diffusers.loaders.single_file import SingleFileComponentError  # seconds

    try:
        if base.single_file:
            given = {"config": base.config} if base.config else {}
            return kind.from_single_file(str(base.place), torch_dtype=dtype, **given, **options)
        return kind.from_pretrained(str(base.place), torch_dtype=dtype, local_files_only=True, **options)
    except SingleFileComponentError as error:
        reason = str(error).splitlines()[0]
        raise FormatError(
            f"base_model: {base.written} is no whole checkpoint: {reason}",
            hint="Give one with UNet, VAE and text encoders, or a base_config that has the weights of what is missing.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        if base.single_file and base.config is None:
            raise NodeError(
                f"base_model: {base.written}: the configuration of a single file comes from the Hub: {reason}",
                hint="Write base_config: a folder with the configuration and tokenizers of its family.",
            ) from error
        raise FormatError(
            f"base_model: {base.written} cannot be loaded: {reason}",
            hint="Look whether all of its files are there and of one family.",
        ) from error


def token_ids(part: TextPart, captions: Sequence[str]) -> torch.Tensor:
    """(n, window) on the encoder's device; longer captions are cut."""
    found = part.tokenizer(
        list(captions),
        padding="max_length",
        max_length=window(part),
        truncation=True,
        return_tensors="pt",
    )
    return found.input_ids.to(next(part.encoder.parameters()).device)


def token_count(part: TextPart, caption: str) -> int:
    """With the two marks at the ends."""
    return len(part.tokenizer(caption, truncation=False, verbose=False).input_ids)


def window(part: TextPart) -> int:
    """How many tokens the encoder takes."""
    limit = getattr(part.encoder.config, "max_position_embeddings", None) or MAX_TOKENS
    return int(min(part.tokenizer.model_max_length, limit))
