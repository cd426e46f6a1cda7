"""What a generation is to make, picture by picture, and what of it is there already."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from specrun.errors import FormatError
from specrun.formats.images import read_upright_rgb
from specrun.formats.samples import SAMPLES_NAME, load_samples
from specrun.kinds.generations.spec import GenerationSpec, lora_facts
from specrun.model.digest import Json, file_digest, json_digest
from specrun.model.labels import Sample
from specrun.model.work import Context, Made
from specrun.training.looks import Look

FOLDER = "images"
_VERSION = 1
"""Raised when the same wish would give another picture."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One picture to be made. number: its place among all. key: of everything that decides its pixels."""

    number: int
    prompt: str
    seed: int
    sample: Sample | None
    key: str

    @property
    def file(self) -> str:
        return f"{FOLDER}/{self.number:05d}_{self.key[:12]}.png"


class Painter(Protocol):
    """Who makes the pictures. base: the base model in words. given: digest and weight of LoRA files made elsewhere.
    decides: what of it decides their pixels.

    guidance: where the spec says nothing. prediction: what the base model is asked for, and whether pictures begin with
    noise alone; None: what its scheduler says. step: sides of pictures are multiples of it."""

    base: str
    given: list[tuple[str, float]]
    decides: list[Json]
    guidance: float
    prediction: tuple[str | None, bool | None]
    step: int

    def paint(self, missing: Sequence[Wish], look: Look, total: int, keep: Keep) -> list[Wish]:
        """Hands each picture to keep; returns the wishes that gave none. total: with those that are there.

        Raises OutOfMemory, NodeError.
        """
        ...

    def notes(self) -> list[str]:
        """What is worth knowing after the painting."""
        ...


Keep = Callable[[Wish, Image.Image], None]


def look_of(spec: GenerationSpec, loras: Sequence[Made], painter: Painter) -> Look:
    size = spec.size
    if size is None and spec.from_ is None and loras:
        width, height = lora_facts(loras[0])["resolution"]
        size = (int(width) // painter.step * painter.step, int(height) // painter.step * painter.step)
    guidance = painter.guidance if spec.guidance is None else spec.guidance
    return Look(
        spec.negative_prompt,
        spec.steps,
        guidance,
        spec.strength,
        size,
        spec.scheduler,
        *painter.prediction,
        painter.step,
    )


def wishes_of(
    spec: GenerationSpec, ctx: Context, painter: Painter, loras: Sequence[Made], look: Look
) -> Iterator[Wish]:
    """By prompt, then by seed, then by picture, so that the frames of a film follow each other."""
    weights = {one.lora.rpartition(".")[2]: one.weight for one in spec.loras}
    used = sorted((file_digest(made.artifact("lora")), weights[made.address.name]) for made in loras)
    used += painter.given
    first, *others = painter.decides
    common: list[Any] = [
        _VERSION,
        first,
        used,
        look.negative,
        look.steps,
        look.guidance,
        look.size_wh,
        look.scheduler,
        *others,
    ]
    if is_unusual(spec, look):
        common.append([look.prediction, look.zero_snr])
    samples = _pictures(spec, ctx)
    number = 0
    for prompt in spec.prompts:
        for seed in spec.chosen_seeds:
            for sample in samples:
                changed = [sample.digest, look.strength] if sample else None
                yield Wish(number, prompt, seed, sample, json_digest([*common, prompt, seed, changed]))
                number += 1


def is_unusual(spec: GenerationSpec, look: Look) -> bool:
    """Whether something else than noise is asked for, or the spec says what."""
    written = spec.prediction != "auto" or spec.zero_terminal_snr is not None
    return written or look.prediction == "v_prediction" or bool(look.zero_snr)


def _pictures(spec: GenerationSpec, ctx: Context) -> Sequence[Sample | None]:
    if spec.from_ is None:
        return [None]
    made = ctx.input("pictures")
    if spec.from_.startswith("datasets."):
        from specrun.clients import fiftyone  # seconds

        with fiftyone.database(ctx) as database:
            found = list(database.samples(str(made.facts["name"]), None))
    else:
        found = list(load_samples(made.folder / SAMPLES_NAME, ctx.project_dir, with_labels=False))
    if not found:
        raise FormatError(f"{spec.from_}: holds no pictures.", hint="Check the source.")
    return found[: spec.limit]


def known_pictures(ctx: Context) -> dict[str, Path]:
    """Beginning of the key → picture, of what was published and of what a killed run left."""
    folders = [folder / FOLDER for folder in (ctx.previous, ctx.staging) if folder is not None]
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*_*.png"))]
    return {path.stem.rpartition("_")[2]: path for path in paths}


def is_taken_over(ctx: Context, wish: Wish, known: dict[str, Path]) -> bool:
    place = known.get(wish.key[:12])
    if place is None or _text_of(place).get("key") != wish.key:
        return False
    target = ctx.staging / wish.file
    if place != target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(place, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(place, target)
    return True


def _text_of(path: Path) -> dict[str, str]:
    """What stands in a picture's metadata; nothing of a file that a kill cut off."""
    with suppress(OSError, SyntaxError, ValueError), Image.open(path) as picture:
        picture.load()
        return {str(key): str(value) for key, value in picture.info.items() if isinstance(value, str)}
    return {}


def batches_of(missing: Sequence[Wish], count: int, look: Look) -> Iterator[list[Wish]]:
    """At most count of them; pictures of one size go together."""
    batch: list[Wish] = []
    for wish in missing:
        if batch and (len(batch) == count or size_of(wish, look) != size_of(batch[0], look)):
            yield batch
            batch = []
        batch.append(wish)
    if batch:
        yield batch


def size_of(wish: Wish, look: Look) -> tuple[int, int] | None:
    """What can be changed must have sides that the VAE divides, and FLUX again."""
    if look.size_wh is not None or wish.sample is None:
        return look.size_wh
    width, height = wish.sample.size_wh
    return max(width // look.step, 1) * look.step, max(height // look.step, 1) * look.step


def picture_of(wish: Wish, look: Look) -> Image.Image | None:
    size = size_of(wish, look)
    if wish.sample is None or size is None:
        return None
    return Image.fromarray(read_upright_rgb(wish.sample.media)).resize(size, Image.Resampling.LANCZOS)


def _named(spec: GenerationSpec) -> list[tuple[str, float]]:
    given = spec.backend.loras
    return [*((one.lora, one.weight) for one in spec.loras), *((one.file, one.weight) for one in given)]


def save_picture(target: Path, picture: Image.Image, wish: Wish, spec: GenerationSpec, look: Look, base: str) -> None:
    text = PngInfo()
    told = {
        "prompt": wish.prompt,
        "negative_prompt": spec.negative_prompt,
        "seed": str(wish.seed),
        "steps": str(spec.steps),
        "guidance": f"{look.guidance:g}",
        "scheduler": spec.scheduler,
        "base_model": base,
        "lora": ", ".join(f"{name}:{weight:g}" for name, weight in _named(spec)),
        "key": wish.key,
    }
    if wish.sample is not None:
        told |= {"source": wish.sample.key, "strength": f"{spec.strength:g}"}
    for name, value in told.items():
        text.add_itxt(name, value)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    picture.save(partial, "PNG", pnginfo=text)
    partial.replace(target)
