"""Images read ahead, in batches of one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from specrun.errors import FormatError
from specrun.model.labels import Sample
from specrun.training.decoding import decoded_batches


def _sample(number: int, size_wh: tuple[int, int] = (3, 2)) -> Sample:
    return Sample(key=str(number), media=Path(str(number)), name="a", digest="d", size_wh=size_wh)


def _read(path: Path) -> np.ndarray:
    number = int(path.name)
    return np.full((2, 5 if number >= 100 else 3, 3), number % 100, dtype=np.uint8)


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
@pytest.mark.parametrize("ahead", [0, 2])
def test_every_image_comes_with_its_own_pixels(threads: int, ahead: int) -> None:
    samples = [_sample(n) for n in range(7)] + [_sample(100 + n, (5, 2)) for n in range(3)]
    seen = []
    for members, images in decoded_batches(samples, 4, _read, threads, ahead=ahead):
        assert len({sample.size_wh for sample in members}) == 1
        assert len(members) <= 4
        seen += [(sample.key, int(image[0, 0, 0])) for sample, image in zip(members, images, strict=True)]
    assert sorted(seen) == sorted((sample.key, int(sample.key) % 100) for sample in samples)


def test_an_image_of_another_size_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match="7: is 3x2 pixels"):
        list(decoded_batches([_sample(7, (9, 9))], 4, _read, 2, ahead=0))
