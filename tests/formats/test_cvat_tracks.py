from __future__ import annotations

from pathlib import Path

import pytest

from specrun.errors import FormatError
from specrun.formats.cvat_xml import read_cvat_xml
from specrun.formats.reading import Reading
from specrun.formats.samples import label_to_json
from tests.support.data_sets import reading_of, write_image, write_text


def read(root: Path, track: str, frames: int = 5, meta: str = "") -> tuple[dict[str, list[dict[str, object]]], Reading]:
    for frame in range(frames):
        write_image(root / "images" / f"frame_{frame:06d}.png")
    text = f"<annotations><version>1.1</version>{meta}{track}</annotations>"
    reading = reading_of(root)
    entries = list(read_cvat_xml(write_text(root / "annotations.xml", text), reading))
    return {
        e.name.removeprefix("images/frame_00000")[0]: [label_to_json(x) for x in e.labels] for e in entries
    }, reading


def box(frame: int, left: float, outside: int = 0, rotation: float = 0) -> str:
    return (
        f'<box frame="{frame}" outside="{outside}" keyframe="1" xtl="{left}" ytl="0" xbr="{left + 2}" ybr="2" '
        f'rotation="{rotation}"/>'
    )


def lefts(labels: dict[str, list[dict[str, object]]]) -> dict[str, list[float]]:
    return {frame: [label["box"][0] for label in found] for frame, found in labels.items()}  # type: ignore[index]


def test_boxes_move_linearly_between_keyframes(tmp_path: Path) -> None:
    labels, _ = read(tmp_path, f'<track id="3" label="fish">{box(0, 0)}{box(4, 4)}</track>')
    assert lefts(labels) == {"0": [0], "1": [1], "2": [2], "3": [3], "4": [4]}


def test_a_label_carries_the_number_of_its_track(tmp_path: Path) -> None:
    labels, _ = read(tmp_path, f'<track id="3" label="fish" group_id="8">{box(0, 0)}</track>', frames=1)
    assert (labels["0"][0]["id"], labels["0"][0]["group"]) == ("3", 8)


def test_a_track_starts_at_its_first_frame_and_stays_to_the_end_of_the_task(tmp_path: Path) -> None:
    meta = "<meta><task><id>1</id><start_frame>0</start_frame><stop_frame>3</stop_frame></task></meta>"
    labels, _ = read(tmp_path, f'<track id="0" label="fish">{box(1, 1)}</track>', meta=meta)
    assert lefts(labels) == {"0": [], "1": [1], "2": [1], "3": [1]}


def test_outside_ends_a_track_until_it_is_listed_again(tmp_path: Path) -> None:
    shapes = box(0, 0) + box(1, 0, outside=1) + box(3, 3) + box(4, 4)
    labels, _ = read(tmp_path, f'<track id="0" label="fish">{shapes}</track>')
    assert lefts(labels) == {"0": [0], "1": [], "2": [], "3": [3], "4": [4]}


def test_a_box_turns_the_short_way(tmp_path: Path) -> None:
    shapes = box(0, 0, rotation=350) + box(2, 0, rotation=10)
    labels, _ = read(tmp_path, f'<track id="0" label="fish">{shapes}</track>', frames=3)
    assert labels["1"][0]["rotation"] == 360


def polygon(frame: int, points: str) -> str:
    return f'<polygon frame="{frame}" outside="0" keyframe="1" points="{points}"/>'


def test_polygons_with_equally_many_points_move_linearly(tmp_path: Path) -> None:
    shapes = polygon(0, "0,0;2,0;2,2") + polygon(2, "2,2;4,2;4,4")
    labels, _ = read(tmp_path, f'<track id="0" label="fish">{shapes}</track>', frames=3)
    assert labels["1"][0]["parts"] == [[[1.0, 1.0, 3.0, 1.0, 3.0, 3.0]]]


def test_polygons_with_other_point_counts_stay_until_the_next_one(tmp_path: Path) -> None:
    shapes = polygon(0, "0,0;2,0;2,2") + polygon(2, "2,2;4,2;4,4;2,4")
    labels, _ = read(tmp_path, f'<track id="0" label="fish">{shapes}</track>', frames=3)
    assert labels["1"][0]["parts"] == [[[0.0, 0.0, 2.0, 0.0, 2.0, 2.0]]]


def test_a_labelled_frame_that_is_not_on_disk_is_missing(tmp_path: Path) -> None:
    _, reading = read(tmp_path, f'<track id="0" label="fish">{box(0, 0)}{box(9, 0)}</track>', frames=2)
    assert reading.missing == ["frame 9"]


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ("<track id='0'/>", "<track> has no label"),
        ("<track id='0' label='a'><box frame='x' xtl='0' ytl='0' xbr='1' ybr='1'/></track>", 'the frame "x"'),
        ("<track id='0' label='a'><box frame='0' xtl='0' ytl='0' xbr='1'/></track>", "<box> has no ybr"),
        ("<track id='0' label='a' task_id='3'/>", "Export each task by itself"),
    ],
)
def test_a_damaged_track_is_named_with_its_line(tmp_path: Path, track: str, message: str) -> None:
    with pytest.raises(FormatError, match=rf"annotations\.xml:1: .*{message}"):
        read(tmp_path, track)


def test_a_folder_without_frames_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no frames"):
        read(tmp_path, f'<track id="0" label="fish">{box(0, 0)}</track>', frames=0)


def test_two_images_for_one_frame_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "other" / "frame_000000.png")
    with pytest.raises(FormatError, match="frame 0 could be any of"):
        read(tmp_path, f'<track id="0" label="fish">{box(0, 0)}</track>', frames=1)


def test_a_video_in_which_nothing_was_drawn_has_its_frames(tmp_path: Path) -> None:
    meta = "<meta><task><mode>interpolation</mode><start_frame>0</start_frame><stop_frame>1</stop_frame></task></meta>"
    labels, _ = read(tmp_path, "", frames=3, meta=meta)
    assert labels == {"0": [], "1": []}
