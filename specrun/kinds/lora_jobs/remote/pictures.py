"""Images and captions of a LoRA job as files for a server."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageOps

from specrun.formats.images import read_upright_rgb
from specrun.training.lora.records import Record, Records


@dataclass(frozen=True, slots=True)
class Picture:
    """name: without ending."""

    name: str
    png: bytes
    caption: str


def pictures(records: Records, size_wh: tuple[int, int] | None = None) -> Iterator[Picture]:
    """size_wh: of all of them, instead of each one's bucket. Raises FormatError: an image cannot be read."""
    for number, record in enumerate(records.train):
        yield Picture(f"{number:05}", _png(record, size_wh), record.caption)


def one_size(records: Records, resolution_wh: tuple[int, int]) -> tuple[int, int] | None:
    """What all pictures must be cut to where they have to be of one size; None: they are."""
    return resolution_wh if len({record.fit.size_wh for record in records.train}) > 1 else None


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


def _png(record: Record, size_wh: tuple[int, int] | None) -> bytes:
    image = Image.fromarray(read_upright_rgb(record.media))
    if size_wh is not None:
        image = ImageOps.fit(image, size_wh, Image.Resampling.LANCZOS)
    else:
        image = image.resize(record.fit.resize_wh, Image.Resampling.LANCZOS)
        left, top = ((record.fit.resize_wh[axis] - record.fit.size_wh[axis]) // 2 for axis in (0, 1))
        width, height = record.fit.size_wh
        image = image.crop((left, top, left + width, top + height))
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()
