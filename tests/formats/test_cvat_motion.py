from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from specrun.formats.cvat_motion import Motion, between, morph


def box(frame: int, *points: float, **more: Any) -> dict[str, Any]:
    return {"type": "rectangle", "frame": frame, "points": list(points), "outside": False, "rotation": 0.0, **more}


def test_a_box_is_halfway_between_its_keyframes() -> None:
    motion = Motion.of([box(0, 0, 0, 10, 10), box(4, 8, 4, 18, 14)])
    found = motion.at(2)
    assert found is not None
    assert found["points"] == [4, 2, 14, 12]


def test_a_box_turns_the_shorter_way() -> None:
    found = between(box(0, 0, 0, 1, 1, rotation=350.0), box(2, 0, 0, 1, 1, rotation=10.0), 0.5)
    assert found["rotation"] == pytest.approx(0.0)


def test_a_track_is_nowhere_before_its_first_keyframe_and_stays_after_its_last() -> None:
    motion = Motion.of([box(3, 0, 0, 1, 1)])
    assert motion.at(2) is None
    found = motion.at(99)
    assert found is not None
    assert found["points"] == [0, 0, 1, 1]


def test_a_keyframe_on_a_deleted_frame_does_not_count() -> None:
    motion = Motion.of([box(0, 0, 0, 2, 2), box(1, 50, 50, 60, 60), box(2, 4, 4, 6, 6)], deleted={1})
    found = motion.at(1)
    assert found is not None
    assert found["points"] == [2, 2, 4, 4]


def test_an_attribute_holds_until_the_keyframe_that_changes_it() -> None:
    first = box(0, 0, 0, 1, 1, attributes=[{"spec_id": 1, "value": "red"}, {"spec_id": 2, "value": "old"}])
    motion = Motion.of([first, box(4, 0, 0, 1, 1, attributes=[{"spec_id": 2, "value": "new"}])])
    assert motion.keyframes[1]["attributes"] == [{"spec_id": 1, "value": "red"}, {"spec_id": 2, "value": "new"}]


def test_several_points_stay_until_the_next_keyframe() -> None:
    before = {"type": "points", "frame": 0, "points": [0, 0, 5, 5]}
    assert between(before, {**before, "points": [9, 9, 7, 7]}, 0.5) is before


def test_outlines_with_equal_vertices_move_vertex_by_vertex() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], dtype=np.float64)
    moved = morph(square, square + 4, 0.25, closed=True)
    assert moved.tolist() == (square + 1).tolist()


def test_a_vertex_that_only_one_outline_has_keeps_its_place_along_the_outline() -> None:
    line = np.array([[0, 0], [10, 0]], dtype=np.float64)
    bent = np.array([[0, 0], [5, 6], [10, 0]], dtype=np.float64)
    moved = morph(line, bent, 1.0, closed=False)
    assert moved.tolist() == bent.tolist()


def test_an_outline_without_length_stays() -> None:
    dot = np.zeros((3, 2))
    assert morph(dot, dot + 5, 0.5, closed=True).tolist() == dot.tolist()


def test_outlines_with_unequal_vertices_move_as_the_servers_own_export_has_them() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], dtype=np.float64)
    other = np.array([[0, 0], [20, 0], [20, 2], [20, 20]], dtype=np.float64)
    assert morph(square, other, 0.5, closed=True).tolist() == [[0, 0], [15, 0], [15, 1], [15, 15], [10, 15]]


def test_vertices_that_share_a_partner_are_thinned_out() -> None:
    line = np.array([[0, 0], [4, 0], [5, 0], [6, 0], [10, 0]], dtype=np.float64)
    short = np.array([[0, 8], [10, 8]], dtype=np.float64)
    assert morph(line, short, 0.5, closed=False).tolist() == [[0, 4], [2, 4], [2.5, 4], [8, 4], [10, 4]]
