"""skeletons: keypoint layouts with points, edges and flips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from specrun.model.digest import Json
from specrun.spec.kind import Declaration, Lookup, Problem, Strict
from specrun.spec.suggest import did_you_mean

PointName = Annotated[str, Field(min_length=1)]
Pair = tuple[PointName, PointName]
Unit = Annotated[float, Field(ge=0, le=1)]
Template = dict[str, tuple[float, float]]


class Lattice(Strict):
    """A regular grid of points; edges, template and flips follow from it."""

    rows: int = Field(ge=2, le=200)
    """Points from top to bottom."""
    cols: int = Field(ge=2, le=200)
    """Points from left to right."""
    omit_corners: bool = False
    """Without the four corner points."""


class SkeletonSpec(Strict):
    """Named points, given one by one or as a lattice."""

    label: PointName
    """The class of the objects."""
    points: list[PointName] | None = Field(default=None, min_length=1)
    """The points in their order."""
    edges: list[Pair] = []
    """Points that are joined by a line."""
    flip_pairs: list[Pair] = []
    """Points that change places when an image is mirrored left to right."""
    template: dict[PointName, tuple[Unit, Unit]] | None = None
    """Where the points stand when a skeleton is drawn: point → [x, y], both in [0, 1]; left out, on a circle."""
    lattice: Lattice | None = None
    """Instead of points, edges and flips."""
    sigmas: dict[PointName, Annotated[float, Field(gt=0)]] = {}
    """Point → how exactly it can be placed relative to the object's size, for OKS in evaluations; the others: 0.05."""


class Skeleton(Declaration):
    """Resolved JSON: label, points, edges, flip_pairs, template (point → [x, y] in [0, 1]), and sigmas if given."""

    Spec = SkeletonSpec

    def check(self, spec: SkeletonSpec, lookup: Lookup) -> Sequence[Problem]:
        return [*(_lattice_problems(spec) if spec.lattice else _point_problems(spec)), *_sigma_problems(spec)]

    def resolve(self, spec: SkeletonSpec, lookup: Lookup) -> dict[str, Json]:
        # Left out when there are none: what was made with the skeleton before stays up to date.
        sigmas: dict[str, Json] = {"sigmas": dict(spec.sigmas)} if spec.sigmas else {}
        if spec.lattice is not None:
            return {"label": spec.label, **lattice_points(spec.lattice), **sigmas}
        points = list(spec.points or ())
        template = dict(spec.template) if spec.template else circle(points)
        return {
            "label": spec.label,
            "points": [*points],
            "edges": [[*edge] for edge in spec.edges],
            "flip_pairs": [[*pair] for pair in spec.flip_pairs],
            "template": {point: [*template[point]] for point in points},
            **sigmas,
        }


def lattice_points(lattice: Lattice) -> dict[str, Json]:
    """Points row by row, named `r0c1`; neighbours in a row or column are joined."""
    rows, cols = lattice.rows, lattice.cols
    corners = {(row, col) for row in (0, rows - 1) for col in (0, cols - 1)} if lattice.omit_corners else set()
    places = [(row, col) for row in range(rows) for col in range(cols) if (row, col) not in corners]
    kept = set(places)

    def name(row: int, col: int) -> str:
        return f"r{row}c{col}"

    neighbours = [((r, c), (r + down, c + right)) for r, c in places for down, right in ((0, 1), (1, 0))]
    return {
        "points": [name(*place) for place in places],
        "edges": [[name(*one), name(*other)] for one, other in neighbours if other in kept],
        "flip_pairs": [[name(r, c), name(r, cols - 1 - c)] for r, c in places if c < cols - 1 - c],
        "template": {name(r, c): [c / (cols - 1), r / (rows - 1)] for r, c in places},
    }


def circle(points: Sequence[str]) -> Template:
    """Clockwise from the top left, so that four points are the corners of a square."""
    if len(points) == 1:
        return {points[0]: (0.5, 0.5)}
    radius = 0.5
    angles = [math.radians(-135 + 360 * index / len(points)) for index in range(len(points))]
    return {
        point: (round(0.5 + radius * math.cos(angle), 6), round(0.5 + radius * math.sin(angle), 6))
        for point, angle in zip(points, angles, strict=True)
    }


def _lattice_problems(spec: SkeletonSpec) -> Iterator[Problem]:
    for key in ("points", "edges", "flip_pairs", "template"):
        if getattr(spec, key):
            yield Problem(key, f"{key} and lattice exclude each other", "Keep one of the two.")


def _point_problems(spec: SkeletonSpec) -> Iterator[Problem]:
    if not spec.points:
        yield Problem("", "a skeleton needs points or a lattice")
        return
    for index, point in enumerate(spec.points):
        if point in spec.points[:index]:
            yield Problem(f"points.{index}", f'the point "{point}" stands twice', "Remove one.")
    flipped: set[str] = set()
    for key, pairs in (("edges", spec.edges), ("flip_pairs", spec.flip_pairs)):
        for index, pair in enumerate(pairs):
            yield from _pair_problems(f"{key}.{index}", pair, spec.points)
            if key == "flip_pairs":
                for point in set(pair) & flipped:
                    yield Problem(f"{key}.{index}", f'"{point}" is in two flip pairs already', "Keep one of them.")
                flipped |= set(pair)
    yield from _template_problems(spec, spec.points)


def _pair_problems(path: str, pair: Pair, points: Sequence[str]) -> Iterator[Problem]:
    for index, point in enumerate(pair):
        if point not in points:
            hint = did_you_mean(point, points, otherwise="Points are")
            yield Problem(f"{path}.{index}", f'there is no point "{point}"', hint)
    if pair[0] == pair[1]:
        yield Problem(path, f'"{pair[0]}" is paired with itself', "Remove this pair.")


def _template_problems(spec: SkeletonSpec, points: Sequence[str]) -> Iterator[Problem]:
    if spec.template is None:
        return
    for point in spec.template:
        if point not in points:
            hint = did_you_mean(point, points, otherwise="Points are")
            yield Problem(f"template.{point}", f'there is no point "{point}"', hint)
    missing = [point for point in points if point not in spec.template]
    if missing:
        yield Problem("template", f"no place for {', '.join(missing)}", "Place every point, or none.")


def _sigma_problems(spec: SkeletonSpec) -> Iterator[Problem]:
    names = lattice_points(spec.lattice)["points"] if spec.lattice else spec.points or []
    assert isinstance(names, list)
    points = [str(name) for name in names]
    for point in spec.sigmas:
        if point not in points:
            hint = did_you_mean(point, points, otherwise="Points are")
            yield Problem(f"sigmas.{point}", f'there is no point "{point}"', hint)
