"""The work of a generation: which pictures are missing, those made, and what shows them together."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from specrun.errors import FormatError, MissingDependency, NodeError, OutOfMemory
from specrun.formats.images import read_upright_rgb
from specrun.formats.samples import SAMPLES_NAME, load_samples
from specrun.kinds.generation_sheet import save_sheet, save_video
from specrun.kinds.generations import DiffusersGeneration, GenerationSpec, lora_facts
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import bytes_digest, file_digest, json_digest
from specrun.model.labels import Sample
from specrun.model.work import Context, Made
from specrun.training.generating import Asked, Look, Pipeline, Weights, is_black
from specrun.training.lora.base import Base, find_base
from specrun.training.oom import is_out_of_memory
from specrun.training.quiet_bitsandbytes import quiet_bitsandbytes

FOLDER = "images"
LIST = "generations.jsonl"
_VERSION = 1
"""Raised when the same wish would give another picture."""
_LATENT_PIXELS = 8
_SHOWN = 3


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


def generate(spec: GenerationSpec, ctx: Context) -> Outputs:
    if not isinstance(spec.backend, DiffusersGeneration):
        raise NodeError("backend: pictures cannot be made on a ComfyUI server yet.", hint="Use diffusers.")
    quiet_bitsandbytes()
    try:
        import diffusers  # noqa: F401 (told in words when it is missing)
        import peft  # noqa: F401
    except ImportError as error:
        hint = "Install the extra: pip install 'specrun[lora]'."
        raise MissingDependency(f"Making pictures needs {error.name}.", hint=hint) from None
    torch.set_num_threads(max(1, ctx.cpus))
    loras = ctx.inputs("lora")
    base = _base(spec, ctx, loras)
    look = _look(spec, loras)
    wishes = list(_wishes(spec, ctx, base, loras, look))
    known = _known(ctx)
    missing = [wish for wish in wishes if not _taken_over(ctx, wish, known)]
    broken = _make(spec, ctx, base, loras, look, missing, len(wishes)) if missing else []
    return _finished(spec, ctx, wishes, missing, broken)


def _base(spec: GenerationSpec, ctx: Context, loras: Sequence[Made]) -> Base:
    """Raises FormatError: LoRAs of different families or bases, and no base that is named."""
    told = {made.address.name: lora_facts(made) for made in loras}
    names = {str(facts["base_model"]) for facts in told.values()}
    if spec.base_model is None and len(names) > 1:
        message = f"The LoRAs were trained on different base models: {', '.join(sorted(names))}."
        raise FormatError(message, hint="Write base_model: the one to use.")
    written = spec.base_model or next(iter(names))
    config = spec.base_config or next((made.config.get("base_config") for made in loras), None)
    base = find_base(written, config, ctx.project_dir)
    for name, facts in told.items():
        if facts["family"] != base.family:
            message = f"lora {name} was trained on family {facts['family']}; {written} is {base.family}."
            raise FormatError(message, hint="Use the base model that it was trained on.")
    return base


def _look(spec: GenerationSpec, loras: Sequence[Made]) -> Look:
    size = spec.size
    if size is None and spec.from_ is None and loras:
        width, height = lora_facts(loras[0])["resolution"]
        size = (int(width), int(height))
    return Look(spec.negative_prompt, spec.steps, spec.guidance, spec.strength, size, spec.scheduler)


def _wishes(spec: GenerationSpec, ctx: Context, base: Base, loras: Sequence[Made], look: Look) -> Iterator[Wish]:
    """By prompt, then by seed, then by picture, so that the frames of a film follow each other."""
    weights = {one.lora.rpartition(".")[2]: one.weight for one in spec.loras}
    used = sorted((file_digest(made.artifact("lora")), weights[made.address.name]) for made in loras)
    common = [_VERSION, base.digest, used, look.negative, look.steps, look.guidance, look.size_wh, look.scheduler]
    common += [_precision(spec, ctx)]
    samples = _pictures(spec, ctx)
    number = 0
    for prompt in spec.prompts:
        for seed in spec.chosen_seeds:
            for sample in samples:
                changed = [sample.digest, look.strength] if sample else None
                yield Wish(number, prompt, seed, sample, json_digest([*common, prompt, seed, changed]))
                number += 1


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


def _known(ctx: Context) -> dict[str, Path]:
    """Beginning of the key → picture, of what was published and of what a killed run left."""
    folders = [folder / FOLDER for folder in (ctx.previous, ctx.staging) if folder is not None]
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*_*.png"))]
    return {path.stem.rpartition("_")[2]: path for path in paths}


def _taken_over(ctx: Context, wish: Wish, known: dict[str, Path]) -> bool:
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


def _make(
    spec: GenerationSpec,
    ctx: Context,
    base: Base,
    loras: Sequence[Made],
    look: Look,
    missing: Sequence[Wish],
    total: int,
) -> list[Wish]:
    """The wishes that gave no picture. Raises OutOfMemory."""
    done = total - len(missing)
    ctx.progress(done, total, "pictures", "loading the base model")
    weights = {one.lora.rpartition(".")[2]: one.weight for one in spec.loras}
    chosen = [Weights(made.address.name, made.artifact("lora"), weights[made.address.name]) for made in loras]
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[_precision(spec, ctx)]
    device = "cuda" if ctx.gpus and torch.cuda.is_available() else "cpu"
    broken: list[Wish] = []
    try:
        pipeline = Pipeline(base, chosen, look, device=device, dtype=dtype, changes=spec.from_ is not None)
        for batch in _batches(spec, missing, look):
            ctx.check_stop()
            asked = [Asked(wish.prompt, wish.seed, _picture(wish, look)) for wish in batch]
            for wish, picture in zip(batch, pipeline.paint(asked, ctx.check_stop), strict=True):
                if picture is None:
                    broken.append(wish)
                else:
                    _save(ctx.staging / wish.file, picture, wish, spec, base)
            done += len(batch)
            ctx.progress(done, total, "pictures", "making")
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        hint = f"Lower batch ({spec.batch}) or size, or write precision: fp16."
        raise OutOfMemory(f"out of memory while making pictures, {spec.batch} at once.", hint=hint) from error
    return broken


def _batches(spec: GenerationSpec, missing: Sequence[Wish], look: Look) -> Iterator[list[Wish]]:
    """Pictures of one size go together."""
    batch: list[Wish] = []
    for wish in missing:
        if batch and (len(batch) == spec.batch or _size(wish, look) != _size(batch[0], look)):
            yield batch
            batch = []
        batch.append(wish)
    if batch:
        yield batch


def _size(wish: Wish, look: Look) -> tuple[int, int] | None:
    """What can be changed must have sides that the VAE divides."""
    if look.size_wh is not None or wish.sample is None:
        return look.size_wh
    width, height = wish.sample.size_wh
    return max(width // _LATENT_PIXELS, 1) * _LATENT_PIXELS, max(height // _LATENT_PIXELS, 1) * _LATENT_PIXELS


def _picture(wish: Wish, look: Look) -> Image.Image | None:
    size = _size(wish, look)
    if wish.sample is None or size is None:
        return None
    return Image.fromarray(read_upright_rgb(wish.sample.media)).resize(size, Image.Resampling.LANCZOS)


def _precision(spec: GenerationSpec, ctx: Context) -> str:
    if spec.precision != "auto":
        return spec.precision
    return "fp16" if ctx.gpus and torch.cuda.is_available() else "fp32"


def _save(target: Path, picture: Image.Image, wish: Wish, spec: GenerationSpec, base: Base) -> None:
    text = PngInfo()
    told = {
        "prompt": wish.prompt,
        "negative_prompt": spec.negative_prompt,
        "seed": str(wish.seed),
        "steps": str(spec.steps),
        "guidance": f"{spec.guidance:g}",
        "scheduler": spec.scheduler,
        "base_model": base.written,
        "lora": ", ".join(f"{one.lora}:{one.weight:g}" for one in spec.loras),
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


def _finished(
    spec: GenerationSpec, ctx: Context, wishes: Sequence[Wish], missing: Sequence[Wish], broken: Sequence[Wish]
) -> Outputs:
    lost = {wish.number for wish in broken}
    whole = [wish for wish in wishes if wish.number not in lost]
    if not whole:
        hint = "Write precision: fp32 (or bf16), or another scheduler."
        raise NodeError(f"None of the {len(wishes)} pictures is one: no numbers came out (NaN).", hint=hint)
    named = {wish.file for wish in whole}
    for path in (ctx.staging / FOLDER).iterdir():
        if f"{FOLDER}/{path.name}" not in named:
            path.unlink()
    black = []
    with open(ctx.staging / LIST, "w", encoding="utf-8", newline="\n") as file:
        for wish in whole:
            with Image.open(ctx.staging / wish.file) as picture:
                dark, size = is_black(picture), picture.size
            black += [wish] if dark else []
            row = {"file": wish.file, "prompt": wish.prompt, "seed": wish.seed, "size": list(size)}
            row |= {"source": wish.sample.key} if wish.sample else {}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    notes = [_told(broken, "gave no numbers (NaN) and were left out")] if broken else []
    if black:
        notes.append(_told(black, "are black"))
        if spec.black == "fail":
            raise NodeError(notes[-1], hint="Write precision: fp32 (or bf16); half precision may overflow.")
    pictures = [ctx.staging / wish.file for wish in whole]
    artifacts = [Artifact("images", "folder", FOLDER), Artifact("generations", "file", LIST)]
    if spec.contact_sheet:
        save_sheet(ctx.staging / "contact_sheet.png", pictures, [(wish.prompt, wish.seed) for wish in whole])
        artifacts.append(Artifact("contact_sheet", "file", "contact_sheet.png"))
    else:
        (ctx.staging / "contact_sheet.png").unlink(missing_ok=True)
    (ctx.staging / "video.mp4").unlink(missing_ok=True)
    if spec.video is not None:
        save_video(ctx.staging / "video.mp4", pictures, spec.video.fps, ctx.check_stop)
        artifacts.append(Artifact("video", "file", "video.mp4"))
    sources = len(wishes) // (len(spec.prompts) * len(spec.chosen_seeds))
    facts = {"images": len(whole), "made": len(missing) - len(broken), "steps": spec.steps, "sources": sources}
    parts = {"media": bytes_digest("".join(wish.key for wish in whole).encode())}
    return Outputs(artifacts=tuple(artifacts), facts={**facts, "black": len(black)}, notes=tuple(notes), parts=parts)


def _told(wishes: Sequence[Wish], what: str) -> str:
    shown = "; ".join(f"{wish.prompt!r} with seed {wish.seed}" for wish in wishes[:_SHOWN])
    return f"{len(wishes)} pictures {what}: {shown}{'; …' if len(wishes) > _SHOWN else ''}"
