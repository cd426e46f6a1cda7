from pathlib import Path
from typing import Any

import pytest

from specrun.errors import SpecError
from specrun.kinds.declarations.skeleton import Lattice, lattice_points
from specrun.kinds.registry import REGISTRY
from specrun.spec.build import build
from tests.support.specs import lines, write_spec


def resolved(folder: Path, fields: str) -> dict[str, Any]:
    path = write_spec(folder, f"skeletons:\n  s: {{{fields}}}")
    composition = build(path, REGISTRY, variables={}, sets={}, environ={}).composition
    kind = REGISTRY["skeletons"].load("skeleton")
    return kind.resolve(composition.spec("skeletons.s"), composition)  # type: ignore[union-attr]


def test_points_are_taken_as_written_and_placed_on_a_circle(tmp_path: Path) -> None:
    fields = "label: q, points: [TL, TR, BR, BL], edges: [[TL, TR], [TR, BR]], flip_pairs: [[TL, TR], [BL, BR]]"
    found = resolved(tmp_path, fields)
    assert found["points"] == ["TL", "TR", "BR", "BL"]
    assert found["edges"] == [["TL", "TR"], ["TR", "BR"]]
    assert found["flip_pairs"] == [["TL", "TR"], ["BL", "BR"]]
    (left, top), (right, bottom) = found["template"]["TL"], found["template"]["BR"]
    assert left < right
    assert top < bottom
    assert found["template"]["TR"] == [right, top]


def test_a_template_of_ones_own_is_kept_in_the_order_of_the_points(tmp_path: Path) -> None:
    found = resolved(tmp_path, "label: q, points: [a, b], template: {b: [1, 0.5], a: [0, 0]}")
    assert list(found["template"].items()) == [("a", [0.0, 0.0]), ("b", [1.0, 0.5])]


def test_a_lattice_of_eleven_by_eleven_without_corners_has_117_points(tmp_path: Path) -> None:
    found = resolved(tmp_path, "label: grid, lattice: {rows: 11, cols: 11, omit_corners: true}")
    assert len(found["points"]) == 117
    assert set(found["template"]) == set(found["points"])
    assert len(found["edges"]) == 2 * 11 * 10 - 8
    assert len(found["flip_pairs"]) == (117 - 11) // 2


def test_a_small_lattice_is_joined_mirrored_and_placed() -> None:
    assert lattice_points(Lattice(rows=2, cols=3)) == {
        "points": ["r0c0", "r0c1", "r0c2", "r1c0", "r1c1", "r1c2"],
        "edges": [
            ["r0c0", "r0c1"], ["r0c0", "r1c0"], ["r0c1", "r0c2"], ["r0c1", "r1c1"], ["r0c2", "r1c2"],
            ["r1c0", "r1c1"], ["r1c1", "r1c2"],
        ],
        "flip_pairs": [["r0c0", "r0c2"], ["r1c0", "r1c2"]],
        "template": {
            "r0c0": [0, 0], "r0c1": [0.5, 0], "r0c2": [1, 0], "r1c0": [0, 1], "r1c1": [0.5, 1], "r1c2": [1, 1],
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("label: q", "skeletons.s: a skeleton needs points or a lattice"),
        ("label: q, points: [a, a]", 'skeletons.s.points.1: the point "a" stands twice. Remove one.'),
        (
            "label: q, points: [nose, tail], edges: [[nose, tale]]",
            'skeletons.s.edges.0.1: there is no point "tale". Did you mean "tail"?',
        ),
        ("label: q, points: [a], edges: [[a, a]]", 'skeletons.s.edges.0: "a" is paired with itself. Remove this pair.'),
        (
            "label: q, points: [a, b, c], flip_pairs: [[a, b], [b, c]]",
            'skeletons.s.flip_pairs.1: "b" is in two flip pairs already. Keep one of them.',
        ),
        (
            "label: q, points: [a, b], template: {a: [0, 0]}",
            "skeletons.s.template: no place for b. Place every point, or none.",
        ),
        ("label: q, points: [a], template: {a: [0, 2]}", "skeletons.s.template.a.1 must be at most 1, not 2"),
        (
            "label: q, points: [a], lattice: {rows: 2, cols: 2}",
            "skeletons.s.points: points and lattice exclude each other. Keep one of the two.",
        ),
        (
            "label: q, points: [nose], sigmas: {nos: 0.1}",
            'skeletons.s.sigmas.nos: there is no point "nos". Did you mean "nose"?',
        ),
        ("label: q, lattice: {rows: 1, cols: 2}", "skeletons.s.lattice.rows must be at least 2, not 1"),
    ],
)
def test_contradictions_are_mistakes_at_their_place(tmp_path: Path, fields: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        resolved(tmp_path, fields)
    found = lines(list(caught.value.diagnostics))  # type: ignore[arg-type]
    assert [line.partition(" ")[2] for line in found] == [message]


def test_sigmas_are_told_only_when_given(tmp_path: Path) -> None:
    assert resolved(tmp_path, "label: q, points: [a, b], sigmas: {a: 0.1}")["sigmas"] == {"a": 0.1}
    assert "sigmas" not in resolved(tmp_path, "label: q, points: [a, b]")
