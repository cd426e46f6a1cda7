"""The work of a generation: which pictures are missing, those made, and what shows them together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from specrun.errors import NodeError
from specrun.kinds.generation_sheet import save_sheet, save_video
from specrun.kinds.generation_wishes import (
    FOLDER,
    Painter,
    Wish,
    is_taken_over,
    known_pictures,
    look_of,
    save_picture,
    wishes_of,
)
from specrun.kinds.generations import DiffusersGeneration, GenerationSpec
from specrun.model.artifact import Artifact, Outputs
from specrun.model.digest import bytes_digest
from specrun.model.work import Context, Made
from specrun.training.looks import is_black

LIST = "generations.jsonl"
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

    def keep(wish: Wish, picture: Image.Image) -> None:
        save_picture(ctx.staging / wish.file, picture, wish, spec, look, painter.base)

    broken = painter.paint(missing, look, len(wishes), keep) if missing else []
    outputs = _finished(spec, ctx, wishes, missing, broken)
    return replace(outputs, notes=(*outputs.notes, *painter.notes()))


def _painter(spec: GenerationSpec, ctx: Context, loras: Sequence[Made]) -> Painter:
    if isinstance(spec.backend, DiffusersGeneration):
        from specrun.kinds.generation_diffusers import DiffusersPainter  # torch and diffusers

        return DiffusersPainter(spec, ctx, loras)
    from specrun.kinds.generation_comfyui import ComfyPainter

    return ComfyPainter(spec, spec.backend, ctx, loras)


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
