"""Copies of a project, lost states, people who rename: what was sent is found, and nobody else's is taken."""

from dataclasses import replace

import pytest
from PIL import Image

from specrun.errors import NodeError
from specrun.kinds.cvat_send.sending import Sending
from specrun.kinds.cvat_send.tasks import TaskMaking
from specrun.model.digest import file_digest
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_sending import Round, polygons, spec_of, square

WHOLE = {"from": "sources.photos", "size": 9}


@pytest.fixture
def server():
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double
        assert not double.errors


def copy(folder, server, *names, size_wh=(120, 90), name="reef"):
    work = Round(folder, server)
    work.project_name = name
    for number, one in enumerate(names):
        work.add_image(one, square(10, 10 + number), size_wh=size_wh)
    return work


def repainted(sample):
    Image.new("RGB", sample.size_wh, (200, ord(sample.name[0]), 99)).save(sample.media)
    return replace(sample, digest=file_digest(sample.media))


def project(server):
    return next(iter(server.state.projects.values()))


@pytest.mark.parametrize("name", ["reef", "lagoon"])
def test_another_project_with_the_same_node_takes_no_foreign_task(tmp_path, server, name):
    first = copy(tmp_path / "a", server, "a.png", "b.png")
    second = copy(tmp_path / "b", server, "c.png", "d.png", size_wh=(100, 80), name=name)
    ones = first.run(spec_of(prelabels=polygons())).facts["task_ids"]
    others = second.run(spec_of(prelabels=polygons())).facts["task_ids"]
    assert len(ones) == len(others) == 1
    assert ones != others


def test_a_foreign_task_that_is_half_made_is_not_finished_with_other_images(tmp_path, server):
    first, second = (copy(tmp_path / folder, server, "a.png", "b.png") for folder in ("a", "b"))
    second.samples = [repainted(sample) for sample in second.samples]
    server.faults.add("PATCH", r"/api/jobs/\d+/annotations", times=99, status=500)
    with pytest.raises(NodeError):
        first.run(spec_of(prelabels=polygons()))
    server.faults.clear()
    outputs = second.run(spec_of(prelabels=polygons()))
    assert outputs.facts["uploaded"] == 2
    assert any("was never finished" in note for note in outputs.notes)
    assert server.person.shapes(1) == []


@pytest.mark.parametrize("wanted", ["reef", None])
def test_a_clone_in_another_folder_finds_what_was_sent(tmp_path, server, wanted):
    first, second = (copy(tmp_path / folder, server, "a.png") for folder in ("reef", "clone"))
    first.run(spec_of(project=wanted))
    second.run(spec_of(project=wanted))
    assert len(server.state.tasks) == 1


def test_a_lost_state_finds_a_project_that_people_renamed(tmp_path, server):
    work = copy(tmp_path / "a", server, "a.png")
    work.run()
    project(server).name = "Reef (running)"
    work.memory.values.clear()
    outputs = work.run()
    assert (len(server.state.projects), len(work.tasks)) == (1, 1)
    assert any("was found by the marks on its tasks" in note for note in outputs.notes)


@pytest.mark.parametrize("method", ["load", "_prelabel"])
def test_two_copies_at_the_same_time_make_one_task_with_one_set_of_labels(tmp_path, server, monkeypatch, method):
    first, second = (copy(tmp_path / folder, server, "a.png", "b.png") for folder in ("a", "b"))
    kind = TaskMaking if method == "load" else Sending
    original = getattr(kind, method)

    def interrupted(self, *arguments, **named):
        monkeypatch.setattr(kind, method, original)
        second.run(spec_of(prelabels=polygons()))
        return original(self, *arguments, **named)

    monkeypatch.setattr(kind, method, interrupted)
    first.run(spec_of(prelabels=polygons()))
    assert len(server.state.tasks) == 1
    assert [len(shapes) for shapes in first.shapes().values()] == [1, 1]


def test_a_lost_state_and_a_new_image_of_a_known_base_name_sends_the_new_one_alone(tmp_path, server):
    work = copy(tmp_path / "a", server, "x/a.png", "y/a.png", "b.png")
    work.run(spec_of(tasks=WHOLE))
    work.memory.values.clear()
    new = work.add_image("a/b.png", square(10, 10))
    work.run(spec_of(tasks=WHOLE))
    assert [len(work.frames(task)) for task in work.tasks] == [3, 1]
    assert [row["digest"] for row in work.sent() if row["task"] == 2] == [new.digest]


def test_an_image_that_is_taken_for_sent_by_name_and_size_alone_is_told(tmp_path, server):
    work = copy(tmp_path / "a", server, "a.png")
    work.run()
    work.samples = [repainted(sample) for sample in work.samples]
    work.memory.values.clear()
    outputs = work.run()
    assert outputs.facts["uploaded"] == 0
    assert any("by name and size alone" in note for note in outputs.notes)


def test_long_names_that_are_shared_stay_short_enough_and_apart(tmp_path, server):
    long = "n" * 248 + ".png"
    work = copy(tmp_path / "a", server, f"x/{long}", f"y/{long}")
    assert work.run(spec_of(tasks=WHOLE)).facts["uploaded"] == 2


def label(server, name):
    return next(label for label in server.state.labels.values() if label.name == name)


def test_a_label_that_people_renamed_stays_so_and_takes_the_labels(tmp_path, server):
    work = copy(tmp_path / "a", server, "a.png")
    work.run()
    label(server, "coral").name = "Coral"
    work.add_image("b.png", square(10, 10))
    outputs = work.run(spec_of(prelabels=polygons()))
    assert [one.name for one in server.state.labels.values()] == ["Coral", "sand"]
    assert 'people renamed the label "coral" to "Coral": it stays so' in outputs.notes
    assert len(work.shapes()["b.png"]) == 1


def test_a_label_that_people_deleted_is_not_made_again_and_missed_where_it_is_needed(tmp_path, server):
    work = copy(tmp_path / "a", server, "a.png")
    work.run()
    server.person.delete_label(label(server, "coral").id)
    assert 'people deleted the label "coral": it is not made again' in work.run().notes
    work.add_image("b.png", square(10, 10))
    with pytest.raises(NodeError, match="people deleted that label"):
        work.run(spec_of(prelabels=polygons()))
    assert [one.name for one in server.state.labels.values()] == ["sand"]


def test_more_choices_leave_the_rest_of_an_attribute_as_people_set_it(tmp_path, server):
    work = copy(tmp_path / "a", server, "a.png")

    def labels(*values):
        return [{"name": "coral", "attributes": [{"name": "health", "input_type": "select", "values": list(values)}]}]

    work.run(spec_of(labels=labels("good", "bad")))
    attribute = label(server, "coral").attributes[0]
    attribute.mutable, attribute.default_value = True, "bad"
    work.run(spec_of(labels=labels("good", "bad", "dead")))
    attribute = label(server, "coral").attributes[0]
    assert (attribute.mutable, attribute.default_value) == (True, "bad")
    assert attribute.values == ["good", "bad", "dead"]
