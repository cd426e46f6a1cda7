import pytest

from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_sending import Round, polygons, spec_of, square


@pytest.fixture
def server():
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double
        assert not double.errors


@pytest.fixture
def work(tmp_path, server):
    return Round(tmp_path, server)


def test_a_project_its_labels_and_its_tasks_are_made(work, server):
    for name in ("a.png", "b.png", "c.png"):
        work.add_image(name, square(10, 10, score=0.9))
    work.add_image("v.png", split="val")
    outputs = work.run(spec_of(prelabels=polygons()))
    (project,) = server.state.projects.values()
    labels = server.state.labels_of_project(project.id)
    assert [(label.name, label.type) for label in labels] == [("coral", "polygon"), ("sand", "polygon")]
    assert labels[0].color == "#e6194b"
    assert [(t.name, t.subset, work.frames(t)) for t in work.tasks] == [
        ("train_01", "train", ["a.png", "b.png"]),
        ("train_02", "train", ["c.png"]),
        ("val_01", "val", ["v.png"]),
    ]
    assert {name: len(shapes) for name, shapes in work.shapes().items()} == {"a.png": 1, "b.png": 1, "c.png": 1}
    assert work.shapes()["a.png"] == [[10, 10, 30, 10, 30, 30, 10, 30]]
    assert outputs.facts["task_ids"] == [1, 2, 3]
    assert (outputs.facts["records"], outputs.facts["uploaded"], outputs.facts["skipped"]) == (4, 4, 0)
    assert outputs.facts["project_id"] == project.id


def test_applying_twice_makes_nothing_twice(work, server):
    work.add_image("a.png", square(10, 10))
    spec = spec_of(prelabels=polygons())
    work.run(spec)
    server.requests_seen.clear()
    outputs = work.run(spec)
    assert len(work.tasks) == len(server.state.projects) == 1
    assert len(work.shapes()["a.png"]) == 1
    assert {method for method, *_ in server.requests_seen} == {"GET"}
    assert (outputs.facts["uploaded"], outputs.facts["skipped"]) == (0, 1)
