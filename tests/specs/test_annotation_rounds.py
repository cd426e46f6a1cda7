"""specs/annotation_rounds: a model draws, people correct, a model learns from them, twice."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doubles.cvat.server import CvatDouble
from tests.doubles.cvat.state import Task
from tests.support.example_specs import TIMEOUT_S, Example, drawn, frame_names, pulled

BARELY = (
    *("--var", "epochs=1"),
    *("--set", "predictions.first.threshold=0.002", "--set", "predictions.second.threshold=0.002"),
    *("--set", "cvat_projects.round1.prelabels.confidence=0", "--set", "cvat_projects.round2.prelabels.confidence=0"),
)
"""A model that has learnt hardly anything, and is asked to draw whatever it sees."""
COIN = [20.0, 20.0, 60.5, 22.0, 58.0, 61.25, 19.75, 60.0]


@pytest.mark.slow
def test_two_rounds_go_on_by_themselves_and_stay_finished(tmp_path: Path) -> None:
    with CvatDouble(anonymous_per_minute=None) as server:
        example = Example(tmp_path, "annotation_rounds", server)
        said = example.apply(*BARELY, code=6)
        first = example.tasks("annotation_rounds")
        assert [(task.name, len(frame_names(task))) for task in first] == [("round1_01", 3), ("round1_02", 3)]
        for link in example.job_links(*first):
            assert link in said
        assert _shapes_have_a_confidence(example, first)

        _correct(example, first[0])
        example.finish(first[0])
        said = example.apply(*BARELY, code=6)
        links = example.job_links(*first)
        assert [link in said.partition("1 of 2 tasks")[2] for link in links] == [False, True]

        with _applying(example, *BARELY, "--wait", "--poll", "1s") as waiting:
            _until(lambda: "1 of 2 tasks" in _output(example), waiting, "the wait for round 1")
            _correct(example, first[1])
            example.finish(first[1])
            second_round = "sources.round2    0 of 2 tasks are ready"
            _until(lambda: second_round in _output(example), waiting, "the wait for round 2")
            second = example.tasks("annotation_rounds")[2:]
            assert [(task.name, len(frame_names(task))) for task in second] == [("round2_01", 3), ("round2_02", 3)]
            for task in second:
                _correct(example, task)
            example.finish(*second)
            assert waiting.wait(TIMEOUT_S) == 0, _output(example)
        assert pulled(example, "sources/round1") == drawn(example, *first)
        assert pulled(example, "sources/round2") == drawn(example, *second)
        labels = len(drawn(example, *first, *second)) + example.facts("datasets/start")["labels"]["coin"]
        assert example.facts("datasets/all")["labels"] == {"coin": labels}

        before = example.counts()
        assert "nothing to do" in example.apply(*BARELY, code=0)
        assert example.counts() == before
        _train_again(example, before)
        assert not server.errors, "\n".join(server.errors)


def _train_again(example: Example, before: tuple[int, ...]) -> None:
    """The model of the first round changes, and no round is opened again."""
    again = (*BARELY, "--set", "models.first.train.epochs=2")
    assert example.actions(*again)["models.first"] == "update"
    manifests = {path: path.read_text() for path in (example.folder / "outputs").rglob("manifest.json")}
    example.apply(*again, code=0)
    changed = {path.parent for path, text in manifests.items() if path.read_text() != text}
    assert {str(path.relative_to(example.folder)) for path in changed} == {
        "outputs/models/first",
        "outputs/predictions/first",
    }
    assert example.counts() == before
    assert "nothing to do" in example.apply(*again, code=0)


def _shapes_have_a_confidence(example: Example, tasks: list[Task]) -> bool:
    shapes = [shape for task in tasks for shape in example.server.person.shapes(task.id)]
    assert shapes
    return all(0 <= float(shape["attributes"][0]["value"]) <= 100 for shape in shapes)


def _correct(example: Example, task: Task) -> None:
    """One shape is taken away, one moved, and on each frame a coin is drawn."""
    person = example.server.person
    shapes = person.shapes(task.id)
    if shapes:
        person.delete_shape(shapes[0]["id"])
    if len(shapes) > 1:
        person.edit_shape(shapes[1]["id"], points=[min(127.0, value + 0.5) for value in shapes[1]["points"]])
    for frame in range(len(frame_names(task))):
        person.draw(task.id, frame, {"label": "coin", "type": "polygon", "points": [x + frame for x in COIN]})


@contextmanager
def _applying(example: Example, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = example.argv("apply", "--yes", "--ui", "plain", *words)
    with open(example.folder / "out.txt", "wb") as out:
        process = subprocess.Popen(argv, cwd=example.folder, env=example.environ, stdout=out, stderr=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _output(example: Example) -> str:
    return (example.folder / "out.txt").read_text(errors="replace")


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, f"{what}: it ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.1)
