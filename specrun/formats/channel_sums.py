"""Mean and standard deviation of an image collection's channels, exact whatever the order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ChannelSums:
    """Counts how often each of the 256 values occurs in each channel."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), dtype=np.int64)

    def add(self, image: NDArray[np.uint8]) -> None:
        """image: (height, width, 3) uint8, RGB."""
        for channel in range(3):
            self._counts[channel] += np.bincount(image[:, :, channel].ravel(), minlength=256)

    def to_json(self) -> dict[str, Any]:
        """mean and std: of values in [0, 1], red, green, blue. pixels: how many were counted."""
        pixels = int(self._counts[0].sum())
        values = np.arange(256) / 255
        weights = self._counts / max(pixels, 1)
        means = weights @ values
        deviations = np.sqrt((weights * (values - means[:, None]) ** 2).sum(axis=1))
        return {"mean": means.tolist(), "std": deviations.tolist(), "pixels": pixels}
