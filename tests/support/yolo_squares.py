"""Tiny exports for every task of Ultralytics: one coloured square an image, drawn from a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSES = ("größe", "кошка")
POINTS = 3


def write_squares(
    folder: Path,
    task: str,
    *,
    train: int = 8,
    val: int = 4,
    size: int = 64,
    classes: tuple[str, ...] = CLASSES,
    used: int | None = None,
) -> Path:
    """used: how many of the classes occur; 0 leaves every label file empty."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    used = len(classes) if used is None else used
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            pixels = random.integers(0, 60, (size, size, 3), dtype=np.uint8)
            side = int(random.integers(size // 4, size // 2))
            left, top = (int(value) for value in random.integers(0, size - side, 2))
            index = number % max(used, 1)
            pixels[top : top + side, left : left + side, index % 3] = 220
            place = folder / split / classes[index] if task == "classify" else folder / "images" / split
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{number:03d}.png")
            if task != "classify":
                labels = folder / "labels" / split
                labels.mkdir(parents=True, exist_ok=True)
                line = _line(task, index, left / size, top / size, side / size) if used else ""
                (labels / f"{number:03d}.txt").write_text(line)
        if task == "classify" and count:
            for name in classes:
                (folder / split / name).mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if task != "classify":
        content: dict[str, Any] = {"train": "images/train", "names": list(classes)}
        content |= {"val": "images/val"} if val else {}
        content |= {"kpt_shape": [POINTS, 3], "flip_idx": [1, 0, 2]} if task == "pose" else {}
        (folder / "data.yaml").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (folder / "facts.json").write_text(json.dumps({"task": task, "classes": list(classes)}))
    return folder


def _line(task: str, index: int, x: float, y: float, side: float) -> str:
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    numbers = [x + side / 2, y + side / 2, side, side]
    match task:
        case "segment" | "obb":
            numbers = corners
        case "pose":
            numbers += [x, y, 2, x + side, y, 2, x + side / 2, y + side, 2]
    return f"{index} {' '.join(f'{value:.5f}' for value in numbers)}\n"
