"""Average precision of boxes, masks and keypoints, equal to pycocotools' numbers (area `all`).

Ours instead of pycocotools: the same matching also gives the mistakes by image, the confusion matrix, the
precision-recall curves and bootstrap intervals, the extra needs no compiled dependency, and it is faster.
Tests hold it against pycocotools.
Source: `pycocotools/cocoeval.py`, functions evaluateImg, computeOks and accumulate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from specrun.model.labels import Bitmap

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
_ALMOST_ONE = 1 - 1e-10

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]


class Measure(StrEnum):
    """How alike two objects are: IoU of boxes, IoU of bitmaps, OKS of keypoints."""

    BOX = "box"
    MASK = "mask"
    POINTS = "points"

    @property
    def max_detections(self) -> int:
        """COCO's: the most certain of a class in an image that count."""
        return 20 if self is Measure.POINTS else 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One object. class_index: into the classes. box_xywh: pixels. bitmap lies at (left, top); None: box only.

    points: (k, 3) x, y and COCO's visibility. area: square pixels, for OKS; None: of the box.
    crowd: takes any number of predictions, which then count for nothing. ignored: takes one such,
    when keypoints are compared: none of its own is marked.
    """

    class_index: int
    box_xywh: tuple[float, float, float, float]
    bitmap: Bitmap | None = None
    left: int = 0
    top: int = 0
    points: Floats | None = None
    area: float | None = None
    score: float = 1.0
    crowd: bool = False
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class ImageInstances:
    """What was drawn and what was predicted on one image."""

    truth: Sequence[Instance]
    predictions: Sequence[Instance]


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of all images in one row, image by image. counts: of each image."""

    rows: tuple[Instance, ...]
    counts: Indices
    image: Indices
    class_index: Indices
    score: Floats
    crowd: Bools
    ignored: Bools


@dataclass(frozen=True, slots=True)
class Pairs:
    """Predictions and truths of one image that are alike by 0.5 at least, whatever their classes.

    prediction, truth: into `predictions.rows` and `truths.rows`. overlap: IoU (of a crowd, the share of the
    prediction that lies in it) or OKS.
    """

    predictions: Objects
    truths: Objects
    prediction: Indices
    truth: Indices
    overlap: Floats


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """One class over all images, its detections by falling score.

    matched, counted: (d, IoU thresholds); what matched an ignored truth counts for nothing.
    image: of each detection. truth_image: of each truth that counts.
    """

    scores: Floats
    image: Indices
    matched: Bools
    counted: Bools
    truth_image: Indices

    def precisions(self, weights: Floats | None = None) -> Floats | None:
        """(101 recalls, IoU thresholds); None: no truth. weights: how often each image counts, default once."""
        truths = float(len(self.truth_image)) if weights is None else float(weights[self.truth_image].sum())
        if truths == 0:
            return None
        weight = 1.0 if weights is None else weights[self.image][:, None]
        true = np.cumsum((self.matched & self.counted) * weight, axis=0, dtype=np.float64)
        every = np.cumsum(self.counted * weight, axis=0, dtype=np.float64)
        recall = true / truths
        precision = np.divide(true, every, out=np.zeros_like(true), where=every > 0)
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        curves = np.zeros((len(RECALL_THRESHOLDS), self.matched.shape[1]))
        for column in range(curves.shape[1]):
            at = np.searchsorted(recall[:, column], RECALL_THRESHOLDS, side="left")
            inside = at < len(envelope)
            curves[inside, column] = envelope[at[inside], column]
        return curves


@dataclass(frozen=True, slots=True)
class ClassScores:
    """map: mean over IoU 0.5 to 0.95. curve: precision at 101 recalls, IoU 0.5. truths: without crowds."""

    map50: float
    map: float
    truths: int
    curve: Floats


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """by_class: class index → scores, only classes that occur in the truth; NaN when there is none.

    precision, recall: at the confidence where their harmonic mean is highest, IoU 0.5, all classes together.
    """

    map50: float
    map: float
    precision: float
    recall: float
    confidence: float
    by_class: dict[int, ClassScores]


def flat_objects(groups: Sequence[Sequence[Instance]], measure: Measure) -> Objects:
    rows = tuple(chain.from_iterable(groups))
    counts = np.array([len(group) for group in groups], dtype=np.int64)
    return Objects(
        rows=rows,
        counts=counts,
        image=np.repeat(np.arange(len(groups)), counts),
        class_index=np.array([row.class_index for row in rows], dtype=np.int64),
        score=np.array([row.score for row in rows], dtype=np.float64),
        crowd=np.array([row.crowd for row in rows], dtype=bool),
        ignored=np.array([row.crowd or (row.ignored and measure is Measure.POINTS) for row in rows], dtype=bool),
    )


def score_instances(matches: dict[int, ClassMatches]) -> InstanceScores:
    known: dict[int, ClassScores] = {}
    for index, found in sorted(matches.items()):
        curves = found.precisions()
        if curves is not None:
            scores = float(curves[:, 0].mean()), float(curves.mean())
            known[index] = ClassScores(*scores, truths=len(found.truth_image), curve=curves[:, 0])
    precision, recall, confidence = _best_point(list(matches.values()))
    return InstanceScores(
        map50=float(np.mean([s.map50 for s in known.values()])) if known else float("nan"),
        map=float(np.mean([s.map for s in known.values()])) if known else float("nan"),
        precision=precision,
        recall=recall,
        confidence=confidence,
        by_class=known,
    )


def match_classes(pairs: Pairs, max_detections: int) -> dict[int, ClassMatches]:
    """Every class of the truth or the predictions → its matches, greedily by falling score as COCO does."""
    predictions, truths = pairs.predictions, pairs.truths
    rank = _ranks(predictions)
    same = predictions.class_index[pairs.prediction] == truths.class_index[pairs.truth]
    kept = np.flatnonzero(same & (rank[pairs.prediction] < max_detections))
    best = _best_truths(pairs, kept, rank)
    matched = best >= 0
    ignored = np.zeros_like(matched)
    ignored[matched] = truths.ignored[best[matched]]
    used = np.flatnonzero(rank < max_detections)
    found = {}
    for index in np.union1d(predictions.class_index, truths.class_index).tolist():
        own = used[predictions.class_index[used] == index]
        own = own[np.lexsort((rank[own], predictions.image[own], -predictions.score[own]))]
        counting = (truths.class_index == index) & ~truths.ignored
        found[index] = ClassMatches(
            scores=predictions.score[own],
            image=predictions.image[own],
            matched=matched[own],
            counted=~ignored[own],
            truth_image=truths.image[counting],
        )
    return found


def _ranks(predictions: Objects) -> Indices:
    """Place of each prediction among those of its class and image, by falling score, the earlier of equals first."""
    total = len(predictions.rows)
    order = np.lexsort((np.arange(total), -predictions.score, predictions.class_index, predictions.image))
    image, class_index = predictions.image[order], predictions.class_index[order]
    first = np.ones(total, dtype=bool)
    first[1:] = (image[1:] != image[:-1]) | (class_index[1:] != class_index[:-1])
    starts = np.maximum.accumulate(np.where(first, np.arange(total), 0))
    rank = np.empty(total, dtype=np.int64)
    rank[order] = np.arange(total) - starts
    return rank


def _best_truths(pairs: Pairs, kept: Indices, rank: Indices) -> Indices:
    """(predictions, IoU thresholds): the truth that each takes, or -1.

    All images at once, rank by rank: the most certain predictions choose first. A prediction takes the free truth
    with the highest overlap, the last of equal ones; an ignored one only when there is no other.
    """
    truths = pairs.truths
    best = np.full((len(pairs.predictions.rows), len(IOU_THRESHOLDS)), -1, dtype=np.int64)
    truth, prediction = pairs.truth[kept], pairs.prediction[kept]
    order = np.lexsort((truth, pairs.overlap[kept], ~truths.ignored[truth], prediction, rank[prediction]))
    truth, prediction, overlap = truth[order], prediction[order], pairs.overlap[kept][order]
    taken = np.zeros((len(truths.rows), len(IOU_THRESHOLDS)), dtype=bool)
    for start, stop in _runs(rank[prediction]):
        here, asked = truth[start:stop], prediction[start:stop]
        free = ~taken[here] | truths.crowd[here, None]
        fits = free & (overlap[start:stop, None] >= np.minimum(IOU_THRESHOLDS, _ALMOST_ONE))
        firsts = np.flatnonzero(np.r_[True, asked[1:] != asked[:-1]])
        chosen = np.maximum.reduceat(np.where(fits, np.arange(len(here))[:, None], -1), firsts, axis=0)
        rows, columns = np.nonzero(chosen >= 0)
        winner = here[chosen[rows, columns]]
        best[asked[firsts][rows], columns] = winner
        taken[winner, columns] = True
    return best


def _runs(values: Indices) -> Iterator[tuple[int, int]]:
    """Start and stop of each run of equal values."""
    if len(values):
        borders = np.flatnonzero(np.diff(values)) + 1
        edges = [0, *borders.tolist(), len(values)]
        yield from pairwise(edges)


def _best_point(found: Sequence[ClassMatches]) -> tuple[float, float, float]:
    """Precision, recall and confidence where F1 is highest."""
    truths = sum(len(m.truth_image) for m in found)
    scores = np.concatenate([m.scores for m in found]) if found else np.zeros(0)
    if not truths or not scores.size:
        return 0.0, 0.0, 0.0
    order = np.argsort(-scores, kind="mergesort")
    matched = np.concatenate([m.matched[:, 0] for m in found])[order]
    counted = np.concatenate([m.counted[:, 0] for m in found])[order]
    true, all_ = np.cumsum(matched & counted), np.cumsum(counted)
    f1 = 2 * true / np.maximum(all_ + truths, 1)
    # Predictions of equal confidence stand or fall together.
    last_of_equal = np.append(scores[order][1:] != scores[order][:-1], True)
    best = int(np.argmax(np.where(last_of_equal, f1, -1)))
    return float(true[best] / max(all_[best], 1)), float(true[best] / truths), float(scores[order][best])
