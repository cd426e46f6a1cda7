"""A small mmseg export of generated shapes, and a training on it without the executor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from specrun.model.address import parse_address
from specrun.model.artifact import Outputs
from specrun.model.work import Made
from specrun.run.context import WorkerContext
from tests.support.context import make_context

NAMES = ("background", "box", "disc")


def write_shapes(
    folder: Path,
    *,
    train: int = 8,
    val: int = 4,
    size: int = 64,
    names: tuple[str, ...] = NAMES,
    background: int | None = 0,
) -> Path:
    """Red boxes (value 1) and green discs (value 2) on noise; the last row of pixels is ignored."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            image, mask = _scene(size, random)
            mask[mask >= len(names)] = 0
            mask[-1] = 255
            for kind, pixels in (("images", image), ("annotations", mask)):
                place = folder / kind / split / f"{number:03d}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place)
    meta = {
        "classes": list(names),
        "palette": [[0, 0, 0], [239, 68, 68], [34, 197, 94]][: len(names)],
        "background": background,
        "ignore_index": 255,
        "reduce_zero_label": False,
        "img_suffix": ".png",
        "seg_map_suffix": ".png",
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


def _scene(size: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    image = random.integers(0, 90, (size, size, 3)).astype(np.uint8)
    mask = np.zeros((size, size), dtype=np.uint8)
    side = size // 3
    top, left = random.integers(0, size - side, 2)
    image[top : top + side, left : left + side, 0] += 140
    mask[top : top + side, left : left + side] = 1
    row, column = random.integers(side // 2, size - side // 2, 2)
    y, x = np.mgrid[:size, :size]
    inside = (y - row) ** 2 + (x - column) ** 2 < (side // 2) ** 2
    image[inside] //= 2
    image[inside, 1] += 140
    mask[inside] = 2
    return image, mask


def shapes_context(tmp_path: Path, export: Path, **overrides: Any) -> WorkerContext:
    address = parse_address("exports.mmseg")
    made = Made(address, "exports.mmseg", export, overrides.pop("digest", "d"))
    return make_context(tmp_path, "models.shapes", made={"data": [made]}, cpus=1, **overrides)


def run_smp(context: WorkerContext, **spec: Any) -> Outputs:
    from specrun.kinds.models.smp import Smp
    from specrun.kinds.models.smp_spec import SmpSpec

    return Smp().run(SmpSpec(**{"data": "mmseg", **TINY, **spec}), context)


TINY: Mapping[str, Any] = {
    "encoder": "timm-mobilenetv3_small_minimal_100",
    "encoder_weights": None,
    "arch_options": {"decoder_channels": [16, 16, 16, 8, 8]},
}
