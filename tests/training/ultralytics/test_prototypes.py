"""Masks computed within their boxes, against the library's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from specrun.training.ultralytics.prototypes import masks_in_boxes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size_hw", "prototypes_hw"),
    [((128, 128), (32, 32)), ((480, 640), (120, 160)), ((333, 517), (112, 160)), ((1080, 1920), (96, 160)),
     ((97, 40), (160, 72)), ((50, 61), (136, 160))],
)  # fmt: skip
def test_masks_are_the_librarys(tmp_path: Path, size_hw: tuple[int, int], prototypes_hw: tuple[int, int]) -> None:
    from specrun.training.ultralytics.environment import load_ultralytics

    load_ultralytics(tmp_path / "library", tmp_path / "cache", 1)
    import torch
    from ultralytics.utils.ops import process_mask_native

    random = np.random.default_rng(sum(size_hw))
    prototypes = random.standard_normal((8, *prototypes_hw)).astype(np.float32)
    coefficients = random.standard_normal((12, 8)).astype(np.float32)
    first = random.random((12, 2)) * 0.7
    corners = np.concatenate([first, first + 0.05 + random.random((12, 2)) * 0.3], axis=1)
    boxes = (np.clip(corners, 0, 1) * [size_hw[1], size_hw[0], size_hw[1], size_hw[0]]).astype(np.float32)
    tensors = [torch.from_numpy(array) for array in (prototypes, coefficients, boxes)]
    theirs = process_mask_native(*tensors, size_hw).numpy().astype(bool)

    differing = 0
    for bitmap, expected, (left, top) in zip(
        (found[0] for found in masks_in_boxes(prototypes, coefficients, boxes, size_hw)),
        theirs,
        [found[1:] for found in masks_in_boxes(prototypes, coefficients, boxes, size_hw)],
        strict=True,
    ):
        whole = np.zeros(size_hw, dtype=bool)
        whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
        differing += int((whole ^ expected).sum())
    assert theirs.sum() > 100
    assert differing <= 1e-4 * theirs.sum()
