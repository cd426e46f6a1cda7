"""Pictures of noise as a source that was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from specrun.formats.samples import save_samples
from specrun.model.address import parse_address
from specrun.model.work import Made
from tests.support.fake_dataset import sample_on_disk


def frames(tmp_path: Path, sizes: Sequence[tuple[int, int]] = ((64, 64), (72, 64))) -> Made:
    samples = []
    (tmp_path / "frames").mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(sizes):
        noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "frames" / f"{number}.png")
        samples.append(sample_on_disk(tmp_path / "frames", f"{number}.png", size_wh=size))
    save_samples(tmp_path / "frames" / "samples.jsonl", samples, tmp_path)
    return Made(parse_address("sources.dive"), "sources.video", tmp_path / "frames", "d")
