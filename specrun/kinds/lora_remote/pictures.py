"""Images and captions of a LoRA job as files for a server."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from specrun.formats.images import read_upright_rgb
from specrun.training.lora.records import Record, Records


@dataclass(frozen=True, slots=True)
class Picture:
    """name: without ending. png: cut to the size of its bucket."""

    name: str
    png: bytes
    caption: str


def pictures(records: Records) -> Iterator[Picture]:
    """Raises FormatError: an image cannot be read."""
    for number, record in enumerate(records.train):
        yield Picture(f"{number:05}", _png(record), record.caption)


def zipped(records: Records) -> bytes:
    """Images with their captions beside them as .txt; the same records give the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for picture in pictures(records):
            for name, content in (
                (f"{picture.name}.png", picture.png),
                (f"{picture.name}.txt", picture.caption.encode()),
            ):
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return target.getvalue()


def _png(record: Record) -> bytes:
    image = Image.fromarray(read_upright_rgb(record.media))
    image = image.resize(record.fit.resize_wh, Image.Resampling.LANCZOS)
    left, top = ((record.fit.resize_wh[axis] - record.fit.size_wh[axis]) // 2 for axis in (0, 1))
    width, height = record.fit.size_wh
    target = io.BytesIO()
    image.crop((left, top, left + width, top + height)).save(target, "PNG")
    return target.getvalue()
