"""The images that become tasks, and which of them can be sent."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageFile, ImageOps

from specrun.errors import FormatError, NodeError
from specrun.formats.images import read_size
from specrun.formats.samples import SAMPLES_NAME, load_samples
from specrun.model.labels import Sample
from specrun.model.work import Context, Made


def read_images(made: Made, splits: Sequence[str] | None, ctx: Context) -> list[Sample]:
    """Without labels, by key. splits: of a prediction that covers only some.

    Raises NodeError: there is none.
    """
    samples = [sample for sample in _samples(made, ctx) if not splits or sample.split in splits]
    if not samples:
        raise NodeError(f"{made.address} has no images to send.", hint="Look at its sources and at the split.")
    return sorted(samples, key=lambda sample: sample.key)


def _samples(made: Made, ctx: Context) -> Iterable[Sample]:
    if not made.kind.startswith("datasets."):
        return load_samples(made.folder / SAMPLES_NAME, ctx.project_dir)
    from specrun.clients.fiftyone import database  # loads pymongo

    with database(ctx) as db:
        return list(db.samples(str(made.facts["name"]), None))


def unsendable(samples: Sequence[Sample], threads: int, check_stop: Callable[[], None]) -> Mapping[str, str]:
    """Image → why CVAT could not take it. One broken image fails its whole task there, so each is decoded before."""

    def reason(sample: Sample) -> str | None:
        check_stop()
        return why_unreadable(sample)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        reasons = pool.map(reason, samples)
        return {sample.digest: why for sample, why in zip(samples, reasons, strict=True) if why}


def why_unreadable(sample: Sample) -> str | None:
    """None: it can be read to its end."""
    try:
        size_wh = read_size(sample.media)
        if size_wh != sample.size_wh:
            return f"it is {_wh(size_wh)} and was {_wh(sample.size_wh)}: apply its source again"
        with Image.open(sample.media) as image:
            # An eighth of the size: every byte is read, few pixels are computed.
            image.draft("L", (max(1, size_wh[0] // 8), max(1, size_wh[1] // 8)))
            assert not ImageFile.LOAD_TRUNCATED_IMAGES
            image.load()
    except FormatError as error:
        return error.message.removeprefix(f"{sample.media}: ").rstrip(".")
    except (OSError, SyntaxError, ValueError) as error:
        return f"not a readable image ({str(error).replace(str(sample.media), '') or type(error).__name__})"
    return None


_SMALL_WH = (32, 32)
_MOST_OFF = 6.0


def looks_alike(content: bytes, file: Path) -> bool:
    """Whether an encoded image can be read and shows what the file shows; it may have been encoded anew."""
    try:
        shown, own = _small(io.BytesIO(content)), _small(file)
    except (OSError, SyntaxError, ValueError):
        return False
    if own is None or shown is None:
        return True
    return sum(abs(a - b) for a, b in zip(shown, own, strict=True)) / len(own) < _MOST_OFF


def _small(image: io.BytesIO | Path) -> bytes | None:
    """A few grey pixels; None: of a kind of image that CVAT turns into another."""
    with Image.open(image) as opened:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        return upright.convert("L").resize(_SMALL_WH).tobytes() if opened.mode in ("L", "RGB") else None


def _wh(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
