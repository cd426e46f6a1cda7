"""One entry point to the readers of all formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from specrun.formats.coco_read import read_coco
from specrun.formats.cvat_xml import read_cvat_xml
from specrun.formats.folders import read_folders
from specrun.formats.layouts import Format, find_cvat_files
from specrun.formats.masks_read import read_masks
from specrun.formats.reading import Entry, Reading
from specrun.formats.voc_read import read_voc
from specrun.formats.yolo_lines import YoloTask
from specrun.formats.yolo_read import read_yolo


@dataclass(frozen=True, kw_only=True)
class Options:
    """classes and ignore_index: of masks. task: of yolo."""

    classes: Sequence[str] = ()
    ignore_index: int | None = None
    task: YoloTask | None = None


def read_data_set(form: Format, path: Path, reading: Reading, options: Options) -> Iterator[Entry]:
    """path: what the user named, or the folder an archive was unpacked to. Raises FormatError."""
    match form:
        case "cvat":
            for file in find_cvat_files(path):
                yield from read_cvat_xml(file, reading)
        case "coco":
            yield from read_coco(path, reading)
        case "yolo":
            yield from read_yolo(path, reading, options.task)
        case "voc":
            yield from read_voc(path, reading)
        case "masks":
            yield from read_masks(path, reading, options.classes, options.ignore_index)
        case "image_classification":
            yield from read_folders(path, reading)
        case _:
            assert_never(form)
