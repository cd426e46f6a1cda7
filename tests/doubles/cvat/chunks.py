"""Chunks of frames: a zip of `000000.jpeg`, `000001.jpeg`, … counted from 0 in every chunk, or an MP4."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from tests.doubles.cvat import pictures, videos
from tests.doubles.cvat.state import Frame, Media


def make(media: Media, frames: range, *, original: bool) -> tuple[bytes, str]:
    """The chunk and its content type. Original images keep their suffix, compressed ones are `.jpeg`."""
    chosen = [media.frames[number] for number in frames]
    if (media.original_chunk_type if original else media.chunk_type) == "video":
        quality = 100 if original else media.image_quality
        return videos.mp4([frame.original for frame in chosen], quality=quality), "video/mp4"
    if not original:
        seen = {f"{n:06d}.jpeg": compressed(media, frame) for n, frame in enumerate(chosen)}
        return zipped(seen), "application/zip"
    named = {
        f"{n:06d}{PurePosixPath(frame.name).suffix}": pictures.served_original(frame.original)
        for n, frame in enumerate(chosen)
    }
    return zipped(named), "application/zip"


def compressed(media: Media, frame: Frame) -> bytes:
    """What annotators see of a frame; made once."""
    frame.compressed = frame.compressed or pictures.compressed(frame.original, media.image_quality)
    return frame.compressed


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Stored, not deflated: images do not shrink."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()
