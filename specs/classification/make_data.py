"""Make this example's data: a window around each coin of the quickstart's photograph, in a folder of its size.

    python specs/classification/make_data.py

Writes `data/<split>/<class>/coin_<n>.png`; see ../quickstart/README.md for where the photograph comes from.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from skimage import data

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "quickstart"))

from make_data import HALVES_Y, find_coins  # noqa: E402  # the quickstart's script lies beside, not in a package

WINDOW = 76
"""Pixels on each side, wider than the largest coin: a small coin looks small."""
CLASSES = {"tiny": "small", "small": "small", "medium": "large", "large": "large"}


def main() -> None:
    photo = Image.fromarray(data.coins())
    for number, coin in enumerate(find_coins(data.coins())[0]):
        x, y = ((coin.outline.min(0) + coin.outline.max(0)) / 2).tolist()
        left = min(max(0, round(x) - WINDOW // 2), photo.width - WINDOW)
        top = min(max(0, round(y) - WINDOW // 2), photo.height - WINDOW)
        split = next(name for name, (first, last) in HALVES_Y.items() if first <= y < last)
        folder = HERE / "data" / split / CLASSES[coin.name]
        folder.mkdir(parents=True, exist_ok=True)
        photo.crop((left, top, left + WINDOW, top + WINDOW)).save(folder / f"coin_{number:02d}.png", optimize=True)


if __name__ == "__main__":
    main()
