"""A small real data set: tiles of scikit-image's photograph of ancient coins, as a YOLO export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from specrun.model.labels import Mask, Sample

CLASSES = ("small", "large")
_LARGE_AREA = 1700


def coin_tiles(count: int, *, size: int = 128, half: str = "left", seed: int = 0) -> list[tuple[Any, list[Mask]]]:
    """Random tiles of one half of the photograph, each with the coins in it."""
    from scipy import ndimage
    from skimage import data, filters, morphology

    picture = data.coins()
    smooth = filters.gaussian(picture, 2)
    coins = morphology.remove_small_objects(smooth > filters.threshold_local(smooth, 151, offset=-0.02), max_size=300)
    numbered, found = ndimage.label(ndimage.binary_fill_holes(coins))
    areas = ndimage.sum_labels(np.ones_like(picture), numbered, range(found + 1))
    middle = picture.shape[1] // 2
    low, high = (0, middle - size) if half == "left" else (middle, picture.shape[1] - size)
    random = np.random.default_rng(seed)
    tiles = []
    while len(tiles) < count:
        x, y = int(random.integers(low, high + 1)), int(random.integers(0, picture.shape[0] - size + 1))
        window = numbered[y : y + size, x : x + size]
        masks = [_mask(window == n, areas[n]) for n in np.unique(window) if n and (window == n).sum() > 150]
        tiles.append((np.stack([picture[y : y + size, x : x + size]] * 3, -1), masks))
    return tiles


def write_yolo_export(folder: Path, *, train: int = 8, val: int = 4, size: int = 128) -> Path:
    """images/<split>, labels/<split> and data.yaml, for the task segment."""
    from PIL import Image

    for split, count, half in (("train", train, "left"), ("val", val, "right")):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for number, (pixels, masks) in enumerate(coin_tiles(count, size=size, half=half)):
            Image.fromarray(pixels).save(folder / "images" / split / f"{number:03d}.png")
            lines = [_yolo_line(mask, size) for mask in masks]
            (folder / "labels" / split / f"{number:03d}.txt").write_text("".join(lines))
    content = {"path": "", "train": "images/train", "val": "images/val", "names": list(CLASSES)}
    (folder / "data.yaml").write_text(json.dumps(content))
    return folder


def write_samples(folder: Path, count: int, *, size: int = 128, half: str = "right") -> list[Sample]:
    """The same tiles as samples with their masks, digests filled."""
    from PIL import Image

    from specrun.model.digest import file_digest

    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number, (pixels, masks) in enumerate(coin_tiles(count, size=size, half=half)):
        path = folder / f"{number:03d}.png"
        Image.fromarray(pixels).save(path)
        samples.append(
            Sample(
                key=f"coins/{path.name}",
                media=path,
                name=path.name,
                digest=file_digest(path),
                size_wh=(size, size),
                split="val",
                labels=tuple(masks),
            )
        )
    return samples


def _mask(whole: Any, area: float) -> Mask:
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    top, left = int(rows[0]), int(columns[0])
    bitmap = whole[top : rows[-1] + 1, left : columns[-1] + 1]
    return Mask(label=CLASSES[int(area > _LARGE_AREA)], bitmap=bitmap, left=left, top=top)


def _yolo_line(mask: Mask, size: int) -> str:
    from skimage import measure

    contour = max(measure.find_contours(np.pad(mask.bitmap, 1).astype(float), 0.5), key=len)
    points = measure.approximate_polygon(contour, 0.5)[:-1, ::-1] - 0.5 + (mask.left, mask.top)
    numbers = " ".join(f"{value:.5f}" for value in np.clip(points / size, 0, 1).ravel())
    return f"{CLASSES.index(mask.label)} {numbers}\n"
