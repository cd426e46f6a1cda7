"""Pictures of the class as the base model sees it, made once before anything is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specrun.model.digest import file_digest, json_digest
from specrun.training.lora.buckets import Fit
from specrun.training.lora.records import Record
from specrun.training.lora.sampling import Wish

if TYPE_CHECKING:
    from specrun.training.lora.trainer import Training

_STEPS, _GUIDANCE = 30, 7.0


def class_records(training: Training, folder: Path) -> tuple[Record, ...]:
    """What is missing of them is made; they are kept by base model, prompt, size and seed."""
    wanted = training.spec.prior_preservation
    if wanted is None:
        return ()
    width, height = (side // 64 * 64 for side in training.spec.resolution)
    key = json_digest([training.job.base.digest, wanted.class_prompt, width, height, training.job.seed, 1])
    place = folder / key
    place.mkdir(parents=True, exist_ok=True)
    painter = training.painter()
    said = training.family.encode(training.parts, ["", wanted.class_prompt], training.spec.clip_skip)
    unwanted, prompt = ({name: value[i : i + 1] for name, value in said.items()} for i in (0, 1))
    found = []
    for number in range(wanted.images):
        path = place / f"{number:05d}.png"
        if not path.is_file():
            training.ctx.progress(number, wanted.images, "pictures", "pictures of the class")
            wish = Wish(prompt, unwanted, (width, height), training.job.seed + number, _STEPS, _GUIDANCE)
            picture = painter.paint(wish, training.ctx.check_stop)
            partial = path.with_suffix(".part")
            picture.save(partial, format="PNG")
            partial.replace(path)
        fit = Fit((width, height), (width, height))
        record = Record(path.name, path, file_digest(path), wanted.class_prompt, (width, height), fit)
        found.append(record)
    return tuple(found)
