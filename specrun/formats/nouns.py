"""What writers call labels when they speak to people."""

from __future__ import annotations

from specrun.errors import FormatError
from specrun.model.labels import AnyLabel, Box, Keypoints, Mask, Polygon, Polyline, Sample, Tag


def noun_of(label: AnyLabel) -> str:
    match label:
        case Box():
            return "turned box" if label.rotation % 360 else "box"
        case Polygon():
            return "polygon"
        case Mask():
            return "mask"
        case Polyline():
            return "polyline"
        case Keypoints():
            return "skeleton" if label.names else "point label"
        case Tag():
            return "tag"


def unknown_class(sample: Sample, label: AnyLabel) -> FormatError:
    return FormatError(
        f'{sample.name}: the label "{label.label}" is not among the classes of the dataset.',
        hint="Correct it in the dataset, or add the class to the taxonomy.",
    )
