"""The images on which most went wrong, and pictures of them: what was drawn beside what was predicted."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from specrun.formats.draw_order import in_draw_order
from specrun.formats.geometry import box_corners
from specrun.formats.images import read_upright_rgb
from specrun.kinds.evaluations.labels import is_object
from specrun.kinds.evaluations.scores import Evaluated, number
from specrun.kinds.predictions.images import label_window
from specrun.model.digest import Json
from specrun.model.labels import AnyLabel, Bitmap, Box, Keypoints, Sample
from specrun.training.lettering import Color, Plates, font
from specrun.training.metrics.semantic import score_pixels

WORST_LISTED = 20
_WIDTH = 360
_ENLARGED = 2.0
_TINT = 0.4
_LETTERS = 12
_RIGHT, _WRONG, _SWAPPED = (34, 197, 94), (239, 68, 68), (245, 158, 11)
_CLASS_COLORS = ((6, 182, 212), (239, 68, 68), (34, 197, 94), (245, 158, 11), (139, 92, 246), (236, 72, 153))


@dataclass(frozen=True, slots=True)
class WorstImage:
    """place: into the evaluation's images. values: what is said of it."""

    place: int
    key: str
    name: str
    values: Mapping[str, Json]


def worst_images(evaluated: Evaluated) -> tuple[WorstImage, ...]:
    """Worst first; images without a mistake are left out."""
    rows = sorted(_rows(evaluated), key=lambda row: (row[0], evaluated.pairs[row[1]][0].key))
    found = []
    for _, place, values in rows[:WORST_LISTED]:
        drawn = evaluated.pairs[place][0]
        found.append(WorstImage(place, drawn.key, drawn.name, values))
    return tuple(found)


def _rows(evaluated: Evaluated) -> Iterator[tuple[float, int, dict[str, Json]]]:
    """(lowest first, place, values)."""
    if evaluated.images:
        for place, (image, found) in enumerate(zip(evaluated.images, evaluated.matches, strict=True)):
            missed, invented = len(found.missed), len(found.invented)
            mistakes = found.mistakes(image)
            if mistakes:
                swapped = mistakes - missed - invented
                yield -mistakes, place, {"missed": missed, "invented": invented, "swapped": swapped}
    elif evaluated.pixels is not None:
        for place, counts in enumerate(evaluated.pixels.counts):
            miou = score_pixels(counts, overlapping=evaluated.pixels.overlapping).miou
            if miou < 1:
                yield miou, place, {"miou": number(miou)}
    elif evaluated.tags is not None:
        for place, classes in enumerate(evaluated.tags.images):
            if classes.right:
                continue
            score = max((label.score or 0.0 for label in evaluated.pairs[place][1].labels), default=0.0)
            predicted = evaluated.classes[classes.predicted[0]] if classes.predicted else None
            drawn = ", ".join(evaluated.classes[index] for index in classes.truth)
            yield -score, place, {"drawn": drawn, "predicted": predicted, "confidence": number(score)}


def picture(evaluated: Evaluated, worst: WorstImage) -> bytes | None:
    """JPEG: the truth on the left, the predictions on the right; None: the image cannot be read."""
    drawn, found = evaluated.pairs[worst.place]
    try:
        rgb = read_upright_rgb(drawn.media)
    except Exception:  # a report is worth having without a picture, whatever the decoder says
        return None
    scale = min(_ENLARGED, _WIDTH / drawn.size_wh[0])
    colors = _colors(evaluated, worst.place)
    sides = [
        _panel(rgb, sample, scale, colors[side], side == 1 and evaluated.confidence)
        for side, sample in enumerate((drawn, found))
    ]
    gap = np.full((sides[0].shape[0], 4, 3), 128, dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(np.concatenate([sides[0], gap, sides[1]], axis=1)).save(target, "JPEG", quality=80)
    return target.getvalue()


def _colors(evaluated: Evaluated, place: int) -> tuple[dict[int, Color], dict[int, Color]]:
    """By number of the label in the truth and in the predictions: by verdict, else by class."""
    drawn, found = evaluated.pairs[place]
    if not evaluated.images:
        return _class_colors(drawn, evaluated.classes), _class_colors(found, evaluated.classes)
    image, matches = evaluated.images[place], evaluated.matches[place]
    sides: tuple[dict[int, Color], dict[int, Color]] = ({}, {})
    numbers = [[n for n, label in enumerate(s.labels) if is_object(label)] for s in (drawn, found)]
    for t, p, _ in matches.pairs:
        right = image.truth[t].class_index == image.predictions[p].class_index
        sides[0][numbers[0][t]] = sides[1][numbers[1][p]] = _RIGHT if right else _SWAPPED
    sides[0].update({numbers[0][t]: _WRONG for t in matches.missed})
    sides[1].update({numbers[1][p]: _WRONG for p in matches.invented})
    return sides


def _class_colors(sample: Sample, classes: Sequence[str]) -> dict[int, Color]:
    return {
        number: _CLASS_COLORS[classes.index(label.label) % len(_CLASS_COLORS)]
        for number, label in enumerate(sample.labels)
        if label.label in classes
    }


def _panel(
    rgb: NDArray[np.uint8], sample: Sample, scale: float, colors: Mapping[int, Color], confidence: float
) -> NDArray[np.uint8]:
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    pixels = np.asarray(Image.fromarray(rgb).resize(size)).astype(np.float32)
    by_label = {id(label): colors[number] for number, label in enumerate(sample.labels) if number in colors}
    shown = [
        label
        for label in in_draw_order(sample.labels)
        if id(label) in by_label and (label.score is None or label.score >= confidence)
    ]
    for label in shown:
        if not isinstance(label, Box | Keypoints):
            _tint(pixels, label, sample.size_wh, size, by_label[id(label)])
    image = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    places = [_outline(pen, label, sample.size_wh, scale, by_label[id(label)]) for label in shown]
    plates = Plates(pen, font(_LETTERS))
    for label, place in zip(shown, places, strict=True):
        text = label.label if label.score is None else f"{label.label} {label.score:.2f}"
        plates.put(text, place, by_label[id(label)])
    return np.asarray(image)


def _tint(
    pixels: NDArray[np.float32], label: AnyLabel, size_wh: tuple[int, int], target_wh: tuple[int, int], color: Color
) -> None:
    window = label_window(label, size_wh)
    if window is None:
        return
    bitmap, left, top = window
    whole = np.zeros((size_wh[1], size_wh[0]), dtype=bool)
    whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] = bitmap
    small: Bitmap = np.asarray(Image.fromarray(whole).resize(target_wh))
    padded = np.pad(small, 1)
    inner = small & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels[small] = (1 - _TINT) * pixels[small] + _TINT * np.array(color)
    pixels[small & ~inner] = color


def _outline(
    pen: ImageDraw.ImageDraw, label: AnyLabel, size_wh: tuple[int, int], scale: float, color: Color
) -> tuple[float, float]:
    """Draws it; returns where its name stands."""
    match label:
        case Box():
            corners = [(float(x) * scale, float(y) * scale) for x, y in box_corners(label)]
            pen.polygon(corners, outline=color, width=2)
            return min(x for x, _ in corners), min(y for _, y in corners)
        case Keypoints():
            for x, y in label.points * scale:
                pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=color)
            return tuple((label.points[0] * scale).tolist()) if len(label.points) else (0.0, 0.0)
        case _:
            window = label_window(label, size_wh)
            return (window[1] * scale, window[2] * scale) if window else (0.0, 0.0)
