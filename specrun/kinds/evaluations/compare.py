"""Models side by side on the same images: scores, and how sure their differences are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from specrun.errors import NodeError
from specrun.kinds.evaluations.labels import Pair
from specrun.kinds.evaluations.scores import Evaluated, ObjectScores, PixelScores, TagScores, number
from specrun.model.digest import Json
from specrun.model.work import Context, Made
from specrun.training.metrics.bootstrap import Floats, Interval, Resample, differences
from specrun.training.metrics.classification import score_classes
from specrun.training.metrics.semantic import score_pixels

_NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """names: of the models, the first the one that the others are held against. scores: (class or "", metric).

    values: by model, in the order of the scores. differences: by model but the first.
    """

    names: tuple[str, ...]
    images: int
    scores: tuple[tuple[str, str], ...]
    values: tuple[tuple[float, ...], ...]
    differences: tuple[tuple[Interval, ...], ...]

    def to_json(self) -> dict[str, Json]:
        found: dict[str, Json] = {"baseline": self.names[0], "images": self.images}
        for name, row in zip(self.names[1:], self.differences, strict=True):
            overall: dict[str, Json] = {}
            per_class: dict[str, dict[str, Json]] = {}
            for (of_class, metric), interval in zip(self.scores, row, strict=True):
                if of_class:
                    per_class.setdefault(of_class, {})[metric] = _interval_json(interval)
                else:
                    overall[metric] = _interval_json(interval)
            found[name] = {**overall, "per_class": dict(per_class)}
        return found


def _interval_json(interval: Interval) -> dict[str, Json]:
    return {
        "difference": number(interval.difference),
        "low": number(interval.low),
        "high": number(interval.high),
    }


def same_images(
    made: Sequence[Made], pairs: Sequence[Sequence[Pair]], images: Literal["same", "common"]
) -> tuple[list[list[Pair]], tuple[str, ...]]:
    """The pairs of the images that all have, and what is to be said of it.

    Raises NodeError: the predictions are of different images, and `images` is `same`; or they share none.
    """
    keys = [{drawn.key for drawn, _ in side} for side in pairs]
    common = set.intersection(*keys)
    if all(found == common for found in keys):
        return [list(side) for side in pairs], ()
    counts = ", ".join(f"{one.address} has {len(found)}" for one, found in zip(made, keys, strict=True))
    if not common:
        raise NodeError(f"the predictions share no image ({counts}).", hint="Predict the same split with each model.")
    if images == "same":
        extra = sorted(set.union(*keys) - common)
        examples = ", ".join(extra[:_NAMES_SHOWN]) + (", …" if len(extra) > _NAMES_SHOWN else "")
        raise NodeError(
            f"the predictions are not of the same images: {counts}, {len(common)} are common (not: {examples}).",
            hint="Predict the same split with each model, or write `images: common`.",
        )
    note = f"only the {len(common)} images that all predictions cover were compared: {counts}"
    return [[pair for pair in side if pair[0].key in common] for side in pairs], (note,)


def compare(found: Sequence[Evaluated], *, rounds: int, ctx: Context) -> Comparison:
    """Raises NodeError: the models have no measure in common."""
    classes = tuple(dict.fromkeys(name for one in found for name in one.classes))
    ordered = [_Ordered(one) for one in found]
    common = [name for name in _families(ordered[0]) if all(name in _families(one) for one in ordered)]
    if not common:
        tasks = ", ".join(f"{one.name} ({one.task})" for one in found)
        raise NodeError(f"these models have no measure in common: {tasks}.", hint="Ask for the same `metrics`.")
    rows = [_joined([_row(one, family, classes) for family in common]) for one in ordered]
    images = len(ordered[0].pairs)

    def after_round(number: int) -> None:
        ctx.progress(number, rounds, "rounds", "comparing")
        ctx.check_stop()

    drawn = differences(rows, images, rounds=rounds, seed=ctx.seed, after_round=after_round)
    once = np.ones(images)
    scores = tuple(score for family in common for score in _scores(ordered[0], family, classes))
    return Comparison(
        names=tuple(one.name for one in found),
        images=images,
        scores=scores,
        values=tuple(tuple(float(value) for value in row(once)) for row in rows),
        differences=tuple(tuple(of_model) for of_model in drawn),
    )


class _Ordered:
    """An evaluation whose images count by the order of their keys, whatever order they were predicted in."""

    def __init__(self, evaluated: Evaluated) -> None:
        self.evaluated = evaluated
        ranks = {key: rank for rank, key in enumerate(sorted(evaluated.keys))}
        self._places = np.array([ranks[key] for key in evaluated.keys], dtype=np.int64)

    @property
    def pairs(self) -> Sequence[Pair]:
        return self.evaluated.pairs

    def weights(self, by_key: Floats) -> Floats:
        found: Floats = by_key[self._places]
        return found


def _families(one: _Ordered) -> list[str]:
    evaluated = one.evaluated
    found = list(evaluated.objects)
    found += ["pck"] if evaluated.points is not None else []
    found += ["pixels"] if evaluated.pixels is not None else []
    return found + (["tags"] if evaluated.tags is not None else [])


def _scores(one: _Ordered, family: str, classes: Sequence[str]) -> list[tuple[str, str]]:
    match family:
        case "pck":
            return [("", "pck")]
        case "pixels":
            return [("", "miou"), ("", "dice"), ("", "pixel_accuracy"), *((name, "iou") for name in classes)]
        case "tags":
            return [("", "accuracy"), ("", "top5"), ("", "f1"), *((name, "f1") for name in classes)]
        case _:
            prefix = one.evaluated.prefix(family)
            both = (f"{prefix}map50", f"{prefix}map")
            return [*(("", name) for name in both), *((of_class, name) for name in both for of_class in classes)]


def _row(one: _Ordered, family: str, classes: Sequence[str]) -> Resample:
    evaluated = one.evaluated
    places = [evaluated.classes.index(name) if name in evaluated.classes else None for name in classes]
    row: Callable[[Floats], Sequence[float]]
    match family:
        case "pck":
            row = _pck_row(evaluated)
        case "pixels":
            assert evaluated.pixels is not None
            row = _pixel_row(evaluated.pixels, places)
        case "tags":
            assert evaluated.tags is not None
            row = _tag_row(evaluated.tags, places)
        case _:
            row = _object_row(evaluated.objects[family], places)
    return lambda by_key: np.array(row(one.weights(by_key)), dtype=np.float64)


def _object_row(objects: ObjectScores, places: Sequence[int | None]) -> Callable[[Floats], Sequence[float]]:
    def row(weights: Floats) -> Sequence[float]:
        curves = {index: found.precisions(weights) for index, found in objects.matches.items()}
        map50 = {index: float(curve[:, 0].mean()) for index, curve in curves.items() if curve is not None}
        whole = {index: float(curve.mean()) for index, curve in curves.items() if curve is not None}
        overall = [_mean(list(map50.values())), _mean(list(whole.values()))]
        return [*overall, *(_at(map50, place) for place in places), *(_at(whole, place) for place in places)]

    return row


def _pixel_row(pixels: PixelScores, places: Sequence[int | None]) -> Callable[[Floats], Sequence[float]]:
    counts = pixels.counts.astype(np.float64)

    def row(weights: Floats) -> Sequence[float]:
        scores = score_pixels(np.tensordot(weights, counts, axes=1), overlapping=pixels.overlapping)
        by_class = [_at(scores.iou_by_class, None if place is None else place + 1) for place in places]
        return [scores.miou, scores.dice, scores.pixel_accuracy, *by_class]

    return row


def _tag_row(tags: TagScores, places: Sequence[int | None]) -> Callable[[Floats], Sequence[float]]:
    def row(weights: Floats) -> Sequence[float]:
        scores = score_classes(tags.counts, weights)
        by_class = {index: values[2] for index, values in scores.by_class.items()}
        return [scores.accuracy, scores.top5, scores.f1, *(_at(by_class, place) for place in places)]

    return row


def _pck_row(evaluated: Evaluated) -> Callable[[Floats], Sequence[float]]:
    assert evaluated.points is not None
    right, drawn = (side.sum(axis=1).astype(np.float64) for side in (evaluated.points.right, evaluated.points.drawn))

    def row(weights: Floats) -> Sequence[float]:
        total = float(weights @ drawn)
        return [float(weights @ right) / total if total else math.nan]

    return row


def _joined(rows: Sequence[Resample]) -> Resample:
    return lambda weights: np.concatenate([row(weights) for row in rows])


def _at(values: Mapping[int, float], place: int | None) -> float:
    return math.nan if place is None else values.get(place, math.nan)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
