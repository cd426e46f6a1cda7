"""specs/keypoints: skeletons of 4 and 117 points to CVAT and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.cvat.server import CvatDouble
from tests.support.example_specs import Example, drawn, frame_names, pulled


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    with CvatDouble(anonymous_per_minute=None) as server:
        yield Example(tmp_path, "keypoints", server)
        assert not server.errors, "\n".join(server.errors)


def test_skeletons_come_back_as_people_left_them(example: Example) -> None:
    """Without FiftyOne: to CVAT, waiting, and back."""
    to_source = ("--target", "sources.corrected")
    said = example.apply(*to_source, code=6)
    tasks = example.tasks("keypoints")
    assert [(task.subset, len(frame_names(task))) for task in tasks] == [("train", 3), ("val", 1)]
    for link in example.job_links(*tasks):
        assert link in said
    sent = drawn(example, *tasks)
    # The same labels as in the file, point by point: 4 or 117, less what lies outside.
    assert sent == pulled(example, "sources/marked")
    assert {label: max(len(points) for _, name, points in sent if name == label) for label in ("frame", "strings")} == {
        "frame": 8,
        "strings": 234,
    }
    assert {len(points) for name, label, points in sent if (name, label) == ("frame_2.jpg", "frame")} == {6}

    person, labels = example.server.person, example.server.state.labels
    (shape,) = [s for s in person.shapes(tasks[1].id) if labels[s["label_id"]].name == "frame"]
    moved = [{**element, "points": [x + 1.5 for x in element["points"]]} for element in shape["elements"]]
    person.edit_shape(shape["id"], elements=moved)
    example.finish(*tasks)
    before = example.counts()
    example.apply(*to_source, code=0)
    assert pulled(example, "sources/corrected") == drawn(example, *tasks) != sent
    occluded = [
        label["visibility"].count(1)
        for sample in example.samples("sources/corrected")
        for label in sample["labels"]
        if label["label"] == "strings"
    ]
    assert [n > 0 for n in occluded] == [False, True, False, True]
    assert "nothing to do" in example.apply(*to_source, code=0)
    assert example.counts() == before


@pytest.mark.slow
def test_each_skeleton_becomes_yolo_pose(example: Example) -> None:
    example.apply(code=6)
    example.finish(*example.tasks("keypoints"))
    example.apply(code=0)
    for name, columns in (("corners", 4), ("grid", 117)):
        folder = example.folder / f"outputs/exports/pose/skeleton={name}"
        assert f"kpt_shape: [{columns}, 3]" in next(folder.glob("*.yaml")).read_text()
        files = sorted((folder / "labels").glob("*/*.txt"))
        assert len(files) == 4
        for file in files:
            (line,) = file.read_text().splitlines()
            assert len(line.split()) == 5 + 3 * columns
    # A point outside of the photograph is absent.
    (third,) = (example.folder / "outputs/exports/pose/skeleton=corners/labels/train").glob("*frame_2.txt")
    assert third.read_text().split()[5:][3:6] == ["0", "0", "0"]
    assert "nothing to do" in example.apply(code=0)
