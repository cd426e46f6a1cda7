"""Four corners as a turned box."""

from __future__ import annotations

import math

import numpy as np

from specrun.model.labels import Points

RECTANGLE_TOLERANCE_PX = 1.0


def corners_to_box(corners: Points) -> tuple[float, float, float, float, float] | None:
    """Points in order around a rectangle → x, y, width, height, rotation (degrees clockwise, -180 to 180).

    The first side becomes the width. None: not four points, or no rectangle within RECTANGLE_TOLERANCE_PX.
    """
    if corners.shape != (4, 2):
        return None
    centre = corners.mean(axis=0)
    across = (corners[1] - corners[0] + corners[2] - corners[3]) / 2
    down = (corners[3] - corners[0] + corners[2] - corners[1]) / 2
    width, height = float(np.hypot(*across)), float(np.hypot(*down))
    if min(width, height) == 0:
        return None
    unit = across / width
    normal = np.array([-unit[1], unit[0]])
    sign = 1.0 if float(down @ normal) >= 0 else -1.0
    half_across, half_down = unit * width / 2, normal * sign * height / 2
    ideal = centre + np.stack(
        [-half_across - half_down, half_across - half_down, half_across + half_down, half_down - half_across]
    )
    if float(np.abs(ideal - corners).max()) > RECTANGLE_TOLERANCE_PX:
        return None
    rotation = math.degrees(math.atan2(unit[1], unit[0]))
    return float(centre[0] - width / 2), float(centre[1] - height / 2), width, height, rotation
