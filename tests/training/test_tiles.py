"""Tiles: where they lie, how they are weighed, and that no seam shows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from specrun.training.tiles import Tiling, Window, axis_weights, blended_bands, tile_starts, windows


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("length", [5, 16, 17, 33, 100])
def test_tiles_cover_everything_and_overlap_as_much_as_was_asked(length: int, overlap: float) -> None:
    starts = tile_starts(length, 16, overlap)
    assert starts[0] == 0
    assert max(starts) + 16 >= length
    assert max(starts) <= max(length - 16, 0)
    steps = np.diff(starts)
    assert not len(steps) or max(steps) <= max(round(16 * (1 - overlap)), 1)


def test_a_tile_is_never_larger_than_the_image() -> None:
    assert windows((10, 40), Tiling((16, 16), 0.5))[0] == Window(0, 0, 10, 16)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
def test_the_weights_of_every_pixel_add_up_to_one(overlap: float) -> None:
    starts = tile_starts(53, 16, overlap)
    total = np.zeros(53)
    for start, weights in zip(starts, axis_weights(starts, 16, 53), strict=True):
        assert weights.min() > 0
        total[start : start + 16] += weights
    assert total == pytest.approx(np.ones(53), abs=1e-6)


def _blend(image: NDArray[np.uint8], tiling: Tiling, probabilities: object) -> NDArray[np.float32]:
    def read(window: Window) -> NDArray[np.uint8]:
        return image[window.top : window.top + window.height, window.left : window.left + window.width]

    size_wh = image.shape[1], image.shape[0]
    whole = np.full((2, *image.shape[:2]), np.nan, dtype=np.float32)
    below = 0
    for top, band in blended_bands(read, size_wh, tiling, probabilities, batch=3):  # type: ignore[arg-type]
        assert top == below, "rows come once, from top to bottom"
        below = top + band.shape[1]
        whole[:, top:below] = band
    assert below == image.shape[0]
    return whole


def _pointwise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    shares = images[..., 0].astype(np.float32) / 255
    return np.stack([shares, 1 - shares], axis=1)


@pytest.mark.parametrize("size_wh", [(40, 30), (16, 50), (9, 7), (17, 16)])
def test_a_model_that_looks_at_single_pixels_sees_no_difference(size_wh: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    found = _blend(image, Tiling((16, 12), 0.5), _pointwise)
    assert found == pytest.approx(_pointwise(image[None])[0], abs=1e-5)


def test_what_a_model_sees_wrongly_at_the_edges_of_tiles_hardly_counts() -> None:
    def wrong_at_edges(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = np.zeros((len(images), 2, *images.shape[1:3]), dtype=np.float32)
        found[:, 0, 1:-1, 1:-1] = 1
        found[:, 1] = 1 - found[:, 0]
        return found

    found = _blend(np.zeros((64, 64, 3), dtype=np.uint8), Tiling((16, 16), 0.5), wrong_at_edges)
    assert found[0, 1:-1, 1:-1].min() > 0.95
