"""Make this example's data: each coin of the quickstart's photograph by itself, in a folder of its size.

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

MARGIN = 3
CLASSES = {"tiny": "small", "small": "small", "medium": "large", "large": "large"}


def main() -> None:
    photo = Image.fromarray(data.coins())
    for number, coin in enumerate(find_coins(data.coins())[0]):
        left, top = (coin.outline.min(0) - MARGIN).round().astype(int).tolist()
        right, bottom = (coin.outline.max(0) + MARGIN).round().astype(int).tolist()
        split = next(name for name, (first, last) in HALVES_Y.items() if first <= (top + bottom) / 2 < last)
        folder = HERE / "data" / split / CLASSES[coin.name]
        folder.mkdir(parents=True, exist_ok=True)
        photo.crop((left, top, right, bottom)).save(folder / f"coin_{number:02d}.png", optimize=True)


if __name__ == "__main__":
    main()
