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

_STEPS = 30


def class_records(training: Training, folder: Path) -> tuple[Record, ...]:
    """What is missing of them is made; they are kept by base model, prompt, size and seed."""
    wanted = training.spec.prior_preservation
    if wanted is None:
        return ()
    width, height = (side // 64 * 64 for side in training.spec.resolution)
    key = json_digest([training.job.base.digest, wanted.class_prompt, width, height, training.job.seed, 1])
    place = folder / key
    place.mkdir(parents=True, exist_ok=True)
    crew, painter = training.crew, training.painter()
    said = training.family.encode(training.parts, ["", wanted.class_prompt], training.spec.clip_skip)
    unwanted, prompt = ({name: value[i : i + 1] for name, value in said.items()} for i in (0, 1))
    paths = [place / f"{number:05d}.png" for number in range(wanted.images)]
    for number in range(crew.rank, wanted.images, crew.count):
        if not paths[number].is_file():
            training.ctx.progress(number, wanted.images, "pictures", "painting pictures of the class", part=True)
            seed, usual = training.job.seed + number, training.family.guidance
            picture = painter.paint(
                Wish(prompt, unwanted, (width, height), seed, _STEPS, usual), training.ctx.check_stop
            )
            partial = paths[number].with_suffix(".part")
            picture.save(partial, format="PNG")
            partial.replace(paths[number])
    crew.wait(training.device)
    fit = Fit((width, height), (width, height))
    return tuple(
        Record(path.name, path, file_digest(path), wanted.class_prompt, (width, height), fit) for path in paths
    )
