"""Tiny data sets of other people's formats, written into a temporary folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from specrun.formats.reading import Entry, MediaFolder, Reading, Subsets
from specrun.formats.samples import label_to_json

ORIENTATION = 0x0112


def write_image(path: Path, size_wh: tuple[int, int] = (8, 6), *, orientation: int | None = None) -> Path:
    """size_wh: as stored, before the orientation is applied."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size_wh, (10, 20, 30))
    options: dict[str, Any] = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    image.save(path, **options)
    return path


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def reading_of(root: Path, subsets: Mapping[str, str | None] | None = None) -> Reading:
    return Reading(media=MediaFolder.scan(root), subsets=Subsets(subsets))


def labels_of(entries: Iterable[Entry]) -> dict[str, list[dict[str, Any]]]:
    """Name → labels as JSON, which can be compared."""
    return {entry.name: [label_to_json(label) for label in entry.labels] for entry in entries}
