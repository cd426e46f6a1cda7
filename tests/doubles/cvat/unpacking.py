"""From the files of an upload to a task's frames: what kind of media they are, their order, and which are taken."""

from __future__ import annotations

import io
import mimetypes
import random
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import av
from PIL import UnidentifiedImageError

from tests.doubles.cvat import pictures, videos
from tests.doubles.cvat.state import Failed, Frame, Media, State, Task

KINDS = ("image", "video", "archive", "directory", "pdf", "zip")
IGNORED = ("__MSOSX", "._.DS_Store", "__MACOSX", ".DS_Store")
CONTEXT_FOLDER = "related_images"
SORTINGS = ("lexicographical", "natural", "predefined", "random")


@dataclass(frozen=True)
class Wanted:
    """The settings of Upload-Finish."""

    image_quality: int
    chunk_size: int | None = None
    start_frame: int = 0
    stop_frame: int | None = None
    frame_filter: str = ""
    sorting_method: str = "lexicographical"
    use_zip_chunks: bool = False
    use_cache: bool = True
    upload_file_order: tuple[str, ...] = field(default=())

    @property
    def step(self) -> int:
        found = re.search(r"step\s*=\s*([1-9]\d*)", self.frame_filter)
        return int(found.group(1)) if found else 1


def unpack(state: State, task: Task, wanted: Wanted) -> Media:
    """Raises Failed with the text of the server's own exception."""
    files = dict(task.uploads)
    counted: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name in files:
        if (kind := media_kind(name)) is not None:
            counted[kind].append(name)
    _one_kind(counted)
    if counted["video"]:
        return _video(state, counted["video"][0], files[counted["video"][0]], wanted)
    if counted["zip"]:
        return _images(state, task, _zipped(files[counted["zip"][0]]), wanted)
    return _images(state, task, {name: files[name] for name in counted["image"]}, wanted)


def media_kind(name: str) -> str | None:
    kind = mimetypes.guess_type(name)[0] or ""
    if kind == "application/zip":
        return "zip"
    if kind == "application/pdf":
        return "pdf"
    if kind in ("application/x-tar", "application/x-7z-compressed", "application/gzip"):
        return "archive"
    if kind.startswith("image/") and not kind.startswith("image/svg"):
        return "image"
    return "video" if kind.startswith("video/") else None


def _one_kind(counted: dict[str, list[str]]) -> None:
    alone = [name for kind in ("video", "archive", "pdf", "zip") for name in counted[kind]]
    if not alone and not counted["image"]:
        raise Failed("ValueError: No media data found\n")
    if len(alone) > 1 or (alone and counted["image"]):
        count = ", ".join(f"{len(names)} {kind}(s)" for kind, names in counted.items())
        raise Failed(
            "ValueError: Only one video, archive, pdf, zip or many image, directory can be used simultaneously, "
            f"but {count} found.\n"
        )
    if counted["archive"] or counted["pdf"]:
        raise Failed("NotImplementedError: this server double unpacks images, zip archives and videos only\n")


def _zipped(content: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if not any(part in name for part in IGNORED)]
            return {name: archive.read(name) for name in names if media_kind(name) == "image"}
    except zipfile.BadZipFile as error:
        raise Failed(f"zipfile.BadZipFile: {error}\n") from None


def _images(state: State, task: Task, images: dict[str, bytes], wanted: Wanted) -> Media:
    context = {name: content for name, content in images.items() if CONTEXT_FOLDER in PurePosixPath(name).parts}
    names = in_order([name for name in images if name not in context], wanted, seed=task.id)
    if not names:
        raise Failed("Exception: No image found\n")
    last = len(names) - 1 if not wanted.stop_frame else min(len(names) - 1, wanted.stop_frame)
    if last < wanted.start_frame:
        raise Failed("AssertionError\n")
    picked = range(wanted.start_frame, last + 1, wanted.step)
    media = Media(id=state.next_id("data"), frames=[], image_quality=wanted.image_quality)
    for number in picked:
        frame = _frame(media, names[number], images[names[number]])
        frame.related = {name: content for name, content in context.items() if _belongs(name, frame.name)}
        media.frames.append(frame)
    return _described(media, picked, wanted)


def _belongs(context: str, name: str) -> bool:
    """Context images of `a/b.jpg` lie in `a/related_images/b_jpg/`."""
    path = PurePosixPath(name)
    return PurePosixPath(context).parent == path.parent / CONTEXT_FOLDER / path.name.replace(".", "_")


def _frame(media: Media, name: str, content: bytes) -> Frame:
    try:
        width, height = pictures.upright_size(content)
    except UnidentifiedImageError:
        path = f"/home/django/data/data/{media.id}/raw/{name}"
        raise Failed(f"PIL.UnidentifiedImageError: cannot identify image file '{path}'\n") from None
    except OSError as error:
        raise Failed(f"OSError: {error}\n") from None
    return Frame(name, width, height, original=content)


def in_order(names: list[str], wanted: Wanted, *, seed: int) -> list[str]:
    """By the sorting method; `predefined` keeps the order of `upload_file_order`, or that of arrival."""
    match wanted.sorting_method:
        case "lexicographical":
            return sorted(names)
        case "natural":
            return sorted(names, key=natural_key)
        case "random":
            return random.Random(seed).sample(names, len(names))
        case _:
            order = {name: number for number, name in enumerate(wanted.upload_file_order)}
            return sorted(names, key=lambda name: order.get(name, len(order)))


def natural_key(name: str) -> list[Any]:
    """As a file manager sorts: folder by folder, numbers by value, no difference of case."""
    parts = PurePosixPath(name).parts
    folders = (*parts[:-1], PurePosixPath(name).stem, PurePosixPath(name).suffix)
    pieces = (re.split(r"(\d+)", part.casefold()) for part in folders)
    return [[(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in part if piece] for part in pieces]


def _video(state: State, name: str, content: bytes, wanted: Wanted) -> Media:
    try:
        count = videos.frame_count(content)
    except (av.FFmpegError, IndexError) as error:
        raise Failed(f"{type(error).__module__}.{type(error).__name__}: {error}\n") from None
    last = count - 1 if wanted.stop_frame is None else min(count - 1, wanted.stop_frame)
    picked = range(wanted.start_frame, last + 1, wanted.step)
    media = Media(id=state.next_id("data"), frames=[], image_quality=wanted.image_quality, mode="interpolation")
    for image in videos.frames(content, picked):
        media.frames.append(Frame(name, image.width, image.height, original=videos.png(image)))
    media.chunk_type = "imageset" if wanted.use_zip_chunks else "video"
    media.original_chunk_type = "video"
    media.source_files = {name: content}
    return _described(media, picked, wanted)


def _described(media: Media, picked: range, wanted: Wanted) -> Media:
    first = media.frames[0]
    by_area = max(2, min(72, 36 * 1920 * 1080 // (first.width * first.height)))
    media.chunk_size = wanted.chunk_size or (by_area if media.chunk_type == "imageset" else 36)
    media.start_frame = picked.start
    media.stop_frame = picked[-1]
    media.frame_filter = wanted.frame_filter
    media.sorting_method = wanted.sorting_method
    media.storage_method = "cache" if wanted.use_cache else "file_system"
    return media
