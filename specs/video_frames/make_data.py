"""Draw the example's film: a fish that swims along a reef, followed by the camera; six seconds, about 120 kB.

python specs/video_frames/make_data.py [folder]
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

RATE = 24
FRAMES = 6 * RATE
SIZE_WH = (384, 240)
SPEED = 9
"""Pixels that the camera moves on from frame to frame."""
REEF = SIZE_WH[0] + SPEED * FRAMES


def draw(number: int, stones: np.ndarray) -> Image.Image:
    image = Image.new("RGB", SIZE_WH, (14, 92 + number // 2, 140))
    pen = ImageDraw.Draw(image)
    for x, y, radius, red, green, blue in stones.tolist():
        left = x - number * SPEED
        pen.ellipse((left - radius, y - radius, left + radius, y + radius), fill=(red, green, blue))
    x, y = 40 + number * 2.1, 90 + 50 * np.sin(number / 9)
    pen.ellipse((x - 34, y - 16, x + 34, y + 16), fill=(250, 150, 30))
    pen.polygon([(x - 30, y), (x - 54, y - 16), (x - 54, y + 16)], fill=(250, 120, 20))
    pen.ellipse((x + 16, y - 6, x + 22, y), fill=(20, 20, 20))
    return image


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    places = np.column_stack([random.integers(0, REEF, 120), random.integers(70, 240, 120)])
    stones = np.column_stack([places, random.integers(10, 52, 120), random.integers(20, 240, (120, 3))])
    with av.open(str(folder / "dive.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "26", "g": "24"})
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            frame = av.VideoFrame.from_image(draw(number, stones))
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "media")
