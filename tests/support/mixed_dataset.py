"""One small dataset with something of everything: shapes, holes, parts, equal names, EXIF, nobody looked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from specrun.model.labels import Box, Keypoints, Mask, Part, Points, Polygon, Polyline, Sample, Tag, Visibility
from tests.support.fake_dataset import sample_on_disk

CLASSES = ("coral", "sea star", "Pavona/Leptoseris")


def ring(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=np.float64)


def mixed_dataset(folder: Path) -> list[Sample]:
    """Images of 40 x 30 pixels below `folder`."""
    square = ring((4, 4), (20, 4), (20, 20), (4, 20))
    hole = ring((8, 8), (12, 8), (12, 12), (8, 12))
    disc = np.hypot(*np.mgrid[-4:5, -5:6]) < 4.2
    seen = (Visibility.VISIBLE, Visibility.OCCLUDED, Visibility.ABSENT)
    arms = Keypoints(
        label="sea star", points=ring((5, 5), (15, 9.5), (0, 0)), names=("left", "right", "top"), visibility=seen
    )
    attributes = {"health": "bleached", "depth": 3.5}
    exif = Image.Exif()
    exif[0x0112] = 6
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 40), (10, 20, 30)).save(folder / "turned.jpg", exif=exif)
    return [
        sample_on_disk(
            folder,
            "2021/reef.jpg",
            [
                Box(label="coral", x=2.5, y=3, width=10, height=6.25, attributes=attributes),
                Box(label="coral", x=20, y=10, width=12, height=6, rotation=30),
                Polygon(label="sea star", parts=(Part(square, (hole,)),), z_order=1),
            ],
        ),
        sample_on_disk(
            folder,
            "2022/reef.jpg",
            [
                Polygon(label="coral", parts=(Part(square), Part(square / 2 + np.array([24, 12])))),
                Mask(label="Pavona/Leptoseris", bitmap=disc, left=25, top=2),
                Polyline(label="coral", points=square[:3]),
            ],
        ),
        sample_on_disk(folder, "étoile.png", [arms, Tag(label="sea star")], split="val"),
        sample_on_disk(
            folder, "turned.jpg", [Polygon(label="coral", parts=(Part(square + np.array([25, 15])),))], split="val"
        ),
        sample_on_disk(folder, "empty.jpg", split="val"),
        sample_on_disk(folder, "unseen.jpg", annotated=False),
        sample_on_disk(folder, "spare.jpg", [Tag(label="coral")], split=None),
    ]
