"""The work of a generation: which pictures are missing, those made, and what shows them together."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from PIL import Image

from specrun.errors import NodeError
from specrun.kinds.generations import films as film
from specrun.kinds.generations.sheet import save_sheet
from specrun.kinds.generations.spec import DiffusersGeneration, GenerationSpec
from specrun.kinds.generations.wishes import (
    FOLDER,
    Painter,
    Wish,
    is_taken_over,
    known_pictures,
    look_of,
    save_picture,
    wishes_of,
)
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import Json, bytes_digest
from specrun.model.work import Context, Made
from specrun.training.looks import is_black

LIST = "generations.jsonl"
SHEET = "contact_sheet.png"
_SHOWN = 3


def generate(spec: GenerationSpec, ctx: Context) -> Outputs:
    loras = ctx.inputs("lora")
    painter = _painter(spec, ctx, loras)
    look = look_of(spec, loras, painter)
    if spec.guidance is None:
        ctx.log(f"guidance {look.guidance:g}, the usual one for this base model")
    wishes = list(wishes_of(spec, ctx, painter, loras, look))
    known = known_pictures(ctx)
    missing = [wish for wish in wishes if not is_taken_over(ctx, wish, known)]

    clock = Clock(spec.batch)

    def keep(wish: Wish, picture: Image.Image) -> None:
        save_picture(ctx.staging / wish.file, picture, wish, spec, look, painter.base)
        clock.picture()

    broken = painter.paint(missing, look, len(wishes), keep) if missing else []
    made, kept = len(missing) - len(broken), len(wishes) - len(missing)
    ctx.log(f"{len(wishes)} pictures: {made} made, {kept} kept" + (f", {len(broken)} broken" if broken else ""))
    outputs = _finished(spec, ctx, wishes, broken)
    facts = {**outputs.facts, "made": made, "kept": kept, **clock.facts()}
    return replace(outputs, facts=facts, notes=(*outputs.notes, *painter.notes()))


class Clock:
    """How long a picture takes, without what is loaded before the first batch."""

    def __init__(self, batch: int) -> None:
        self._batch, self._times = batch, list[float]()

    def picture(self) -> None:
        self._times.append(time.monotonic())

    def facts(self) -> dict[str, Json]:
        """In whole milliseconds; nothing when all came at once."""
        after = len(self._times) - self._batch
        if after < 1:
            return {}
        return {"picture_ms": round((self._times[-1] - self._times[self._batch - 1]) / after * 1000)}


def _painter(spec: GenerationSpec, ctx: Context, loras: Sequence[Made]) -> Painter:
    if isinstance(spec.backend, DiffusersGeneration):
        from specrun.kinds.generations.diffusers import DiffusersPainter  # torch and diffusers

        return DiffusersPainter(spec, ctx, loras)
    from specrun.kinds.generations.comfyui import ComfyPainter

    return ComfyPainter(spec, spec.backend, ctx, loras)


def _finished(spec: GenerationSpec, ctx: Context, wishes: Sequence[Wish], broken: Sequence[Wish]) -> Outputs:
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
    artifacts = [
        Artifact("images", "folder", FOLDER),
        Artifact("generations", "file", LIST),
        *_together(spec, ctx, wishes, whole),
    ]
    sources = len(wishes) // (len(spec.prompts) * len(spec.chosen_seeds))
    facts = {"images": len(whole), "denoising_steps": spec.steps, "sources": sources}
    parts = {"media": bytes_digest("".join(wish.key for wish in whole).encode())}
    return Outputs(artifacts=tuple(artifacts), facts={**facts, "black": len(black)}, notes=tuple(notes), parts=parts)


def _together(spec: GenerationSpec, ctx: Context, wishes: Sequence[Wish], whole: Sequence[Wish]) -> Iterator[Artifact]:
    """The sheet and the films; those that a killed run left and that are not wanted any more go."""
    (ctx.staging / SHEET).unlink(missing_ok=True)
    if spec.contact_sheet:
        numbers = {wish.number for wish in whole}
        save_sheet(ctx.staging / SHEET, ctx.staging, wishes, {wish.number for wish in wishes} - numbers)
        yield Artifact("contact_sheet", "file", SHEET)
    (ctx.staging / film.FILM).unlink(missing_ok=True)
    shutil.rmtree(ctx.staging / film.FOLDER, ignore_errors=True)
    if spec.video is None:
        return
    found = film.films(whole)
    for number, (name, shown) in enumerate(found.items()):
        ctx.progress(number, len(found), "films", "making films")
        pictures = [ctx.staging / wish.file for wish in shown]
        film.save_film(ctx.staging / name, pictures, spec.video.fps, ctx.check_stop)
    single = film.FILM in found
    yield Artifact("video", "file", film.FILM) if single else Artifact("videos", "folder", film.FOLDER)


def _told(wishes: Sequence[Wish], what: str) -> str:
    shown = "; ".join(f"{wish.prompt!r} with seed {wish.seed}" for wish in wishes[:_SHOWN])
    return f"{len(wishes)} pictures {what}: {shown}{'; …' if len(wishes) > _SHOWN else ''}"
