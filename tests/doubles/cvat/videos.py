"""Video: frames of an uploaded file, and the MP4 chunks that annotators get."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image


def frames(content: bytes, picked: range) -> Iterator[Image.Image]:
    """The frames of `picked`, in order; raises av.FFmpegError for what is no video."""
    with av.open(io.BytesIO(content)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number >= picked.stop:
                return
            if number in picked:
                yield frame.to_image()


def frame_count(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return sum(1 for _ in container.decode(video=0))


def png(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.save(target, format="PNG")
    return target.getvalue()


def mp4(pictures: Sequence[bytes], *, quality: int) -> bytes:
    """25 frames a second in H.264, sides rounded up to even numbers; quality: 1 … 100."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(round(51 * (100 - quality) / 99)), "preset": "ultrafast"}
        with Image.open(io.BytesIO(pictures[0])) as first:
            stream.width, stream.height = (side + side % 2 for side in first.size)
        for frame in _video_frames(pictures):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()


def _video_frames(pictures: Iterable[bytes]) -> Iterator[av.VideoFrame]:
    for content in pictures:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"))
        height, width = pixels.shape[:2]
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.pts = None
        frame.time_base = Fraction(0, 1)
        yield frame
