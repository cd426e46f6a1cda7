"""Where the files of each data set format lie: what to watch, and where images are by default.

Light: planning imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from specrun.errors import FormatError
from specrun.formats.image_names import image_patterns

Format = Literal["cvat", "coco", "yolo", "voc", "masks", "image_classification"]

LABEL_PATTERNS: Mapping[Format, tuple[str, ...]] = {
    "cvat": ("**/*.xml",),
    "coco": ("**/*.json",),
    "yolo": ("**/*.txt", "**/*.yaml", "**/*.yml", "**/*.data", "**/*.names"),
    "voc": ("**/*.xml", "**/*.txt"),
    "masks": image_patterns(),
    "image_classification": (),
}
"""Globs of the files, below the data set's folder, that labels are read from; empty: the images alone say it."""
LABELMAP_NAME = "labelmap.txt"
"""What CVAT writes beside masks and VOC data sets: classes and their colours."""


def is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def media_root(form: Format, path: Path) -> Path:
    """The folder whose images a data set describes, where the user names none."""
    folder = path if path.is_dir() else path.parent
    if path.is_file() and folder.name == "annotations":
        folder = folder.parent
    if form == "cvat" and (folder / "images").is_dir():
        return folder / "images"
    if form == "yolo" and folder.is_dir():
        # ruamel.yaml is needed only to follow `path:` of a data.yaml.
        from specrun.formats.yolo_yaml import find_data_file, load_yolo_data

        return load_yolo_data(find_data_file(path)).root
    return folder


def unpacked_root(folder: Path) -> Path:
    """An archive often holds one folder that holds everything."""
    inside = sorted(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def find_cvat_files(path: Path) -> list[Path]:
    """The XML files of a CVAT export; path: one of them, or a folder. Raises FormatError: there are none."""
    if path.is_file():
        return [path]
    found = sorted(path.rglob("annotations.xml")) or sorted(path.glob("*.xml"))
    if not found:
        raise FormatError(f"{path}: holds no annotations.xml.", hint="Check `format` and `path`.")
    return found
