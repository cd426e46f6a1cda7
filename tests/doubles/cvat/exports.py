"""Archives of a project, a task or a job: datasets in the server's formats, imports of annotations, backups."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from datetime import datetime

from tests.doubles.cvat import (
    backups,
    dataset,
    format_coco,
    format_cvat,
    format_datumaro,
    format_voc,
    format_yolo,
    imports,
)
from tests.doubles.cvat.state import Failed, Job, Project, State, Task

EXPORTED_FORMATS = (
    "COCO 1.0",
    "COCO Keypoints 1.0",
    "CVAT for images 1.1",
    "CVAT for video 1.1",
    "Datumaro 1.0",
    "Segmentation mask 1.1",
    "YOLO 1.1",
    "Ultralytics YOLO Detection 1.0",
    "Ultralytics YOLO Oriented Bounding Boxes 1.0",
    "Ultralytics YOLO Pose 1.0",
    "Ultralytics YOLO Segmentation 1.0",
)
import_annotations = imports.import_annotations
make_backup = backups.make_backup
import_backup = backups.import_backup


def make_archive(state: State, target: Project | Task | Job, format_name: str, *, save_images: bool) -> bytes:
    """Raises Failed: nothing to export, or a format that the double does not write."""
    with state.lock:
        key = _cache_key(target, format_name, save_images=save_images)
        if not (state.stale_exports and key in state.export_cache):
            _check_data(state, target)
            made = zipped(_files(state, target, format_name, save_images=save_images))
            state.export_cache[key] = made, target.updated_date
        return state.export_cache[key][0]


def archive_date(state: State, target: Project | Task | Job, format_name: str, *, save_images: bool) -> datetime:
    """What the last archive of this kind is dated: older than the target when it came from a stale cache."""
    return state.export_cache[_cache_key(target, format_name, save_images=save_images)][1]


def _cache_key(target: Project | Task | Job, format_name: str, *, save_images: bool) -> tuple[str, int, str, bool]:
    return type(target).__name__, target.id, format_name, save_images


def _check_data(state: State, target: Project | Task | Job) -> None:
    tasks = dataset.tasks_of(state, target)
    if not isinstance(target, Project) and any(task.media is None for task in tasks):
        raise Failed("AttributeError: 'NoneType' object has no attribute 'validation_mode'\n")


def _files(state: State, target: Project | Task | Job, format_name: str, *, save_images: bool) -> dict[str, bytes]:
    match format_name:
        case "CVAT for images 1.1" | "CVAT for video 1.1":
            write = format_cvat.images_xml if "images" in format_name else format_cvat.video_xml
            found = {"annotations.xml": write(state, target)}
            if save_images:
                items = dataset.items(state, target)
                found |= {format_cvat.media_path(item, target): item.content() for item in items}
            return found
        case "COCO 1.0" | "COCO Keypoints 1.0":
            found = format_coco.files(state, target, keypoints="Keypoints" in format_name)
            if save_images:
                items = dataset.items(state, target)
                found |= {f"images/{item.subset}/{format_coco.image_name(item)}": item.content() for item in items}
            return found
        case "YOLO 1.1":
            return format_yolo.darknet(state, target, save_images=save_images)
        case "Segmentation mask 1.1":
            return format_voc.files(state, target, save_images=save_images)
        case "Datumaro 1.0":
            return format_datumaro.files(state, target, save_images=save_images)
    if format_name in EXPORTED_FORMATS and format_name.startswith("Ultralytics YOLO "):
        what = format_name.removeprefix("Ultralytics YOLO ").removesuffix(" 1.0")
        return format_yolo.ultralytics(state, target, what, save_images=save_images)
    raise Failed(f"NotImplementedError: this server double does not export {format_name!r}\n")


def zipped(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()
