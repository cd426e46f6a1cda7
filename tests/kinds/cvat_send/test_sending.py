import numpy as np
import pytest
from PIL import Image

from specrun.errors import NodeError
from specrun.kinds.cvat_send.sending import connect
from specrun.model.digest import file_digest
from specrun.model.labels import Keypoints
from tests.doubles.cvat import annotations
from tests.doubles.cvat.server import CvatDouble
from tests.doubles.cvat.wire import Refused
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


def test_new_images_become_new_tasks_and_what_was_sent_stays_as_it_is(work, server):
    work.add_image("a.png", square(10, 10))
    spec = spec_of(prelabels=polygons())
    work.run(spec)
    server.person.draw(1, 0, {"label": "sand", "type": "polygon", "points": [1, 1, 9, 1, 9, 9]})
    before = work.shapes()["a.png"]
    work.predicted["photos/a.png"] = (square(50, 50), square(70, 50))
    work.add_image("b.png", square(20, 20))
    outputs = work.run(spec)
    assert work.shapes()["a.png"] == before
    assert [work.frames(task) for task in work.tasks] == [["a.png"], ["b.png"]]
    assert [task.name for task in work.tasks] == ["train_01", "train_02"]
    assert "1 frame sent before would get other labels now; sent is sent" in outputs.notes


def test_a_renamed_image_is_not_sent_again_and_copies_go_in_once(work):
    first = work.add_image("a.png")
    work.run()
    copy = first.media.with_name("copy.png")
    copy.write_bytes(first.media.read_bytes())
    work.samples = []
    for name in ("renamed.png", "again.png"):
        path = work.folder / "photos" / name
        path.write_bytes(copy.read_bytes())
        work.samples.append(type(first)(**{**vars(first), "key": f"photos/{name}", "name": name, "media": path}))
        work.predicted[f"photos/{name}"] = ()
    outputs = work.run()
    assert len(work.tasks) == 1
    assert outputs.facts["skipped"] == 1
    assert "1 image is a copy of another, which is sent once" in outputs.notes


def test_equal_base_names_are_told_apart_and_mapped_back(work):
    for name in ("x/a.png", "y/a.png", "b.png"):
        work.add_image(name, square(10, 10 + len(work.samples)))
    work.run(spec_of(prelabels=polygons(), tasks={"from": "sources.photos"}))
    (task,) = work.tasks
    names = work.frames(task)
    assert len(set(names)) == 3
    assert "b.png" in names
    by_key = {row["key"]: row["name"] for row in work.sent()}
    assert work.shapes()[by_key["photos/y/a.png"]] == [[10, 11, 30, 11, 30, 31, 10, 31]]
    content = {frame.name: frame.original for frame in task.media.frames}
    assert content[by_key["photos/x/a.png"]] == (work.folder / "photos/x/a.png").read_bytes()


def test_an_image_turned_by_exif_has_its_labels_where_they_are_seen(work):
    path = work.folder / "photos" / "turned.jpg"
    image = Image.new("RGB", (120, 90), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    sample = work.add_image("other.png", square(60, 90))
    changed = {"key": "photos/turned.jpg", "name": "turned.jpg", "media": path, "digest": file_digest(path)}
    work.samples = [type(sample)(**{**vars(sample), **changed, "size_wh": (90, 120)})]
    work.predicted["photos/turned.jpg"] = (square(60, 90),)
    outputs = work.run(spec_of(prelabels=polygons()))
    assert outputs.facts["failed"] == []
    assert work.shapes() == {"turned.jpg": [[60, 90, 80, 90, 80, 110, 60, 110]]}


def test_a_broken_image_is_told_and_the_others_are_sent(work):
    work.add_image("a.png", square(10, 10))
    broken = work.add_image("b.png")
    broken.media.write_bytes(broken.media.read_bytes()[:80])
    outputs = work.run(spec_of(prelabels=polygons()))
    assert [work.frames(task) for task in work.tasks] == [["a.png"]]
    (failed,) = outputs.facts["failed"]
    assert failed["name"] == "b.png"
    assert "not a readable image" in failed["reason"]


def test_labels_are_mapped_filtered_and_carry_the_confidence(work, server):
    attributes = [
        {"name": "confidence", "input_type": "number", "values": ["0", "100", "1"], "default_value": "100"},
        {"name": "species"},
    ]
    work.add_image(
        "a.png",
        square(0, 0, label="acropora", score=0.91, attributes={"species": "sand"}),
        square(30, 0, label="other", score=0.9),
        square(60, 0, label="unsure", score=0.1),
        square(0, 40, label="small", size=2.0, score=0.9),
        square(30, 40, label="none", score=0.9),
    )
    labels = {"from": "taxonomies.reef", "type": "any", "attributes": attributes}
    mapping = {"none": None, "species": "{value}", "_default": "coral"}
    spec = spec_of(labels=labels, prelabels=polygons(label_map=mapping, min_area=10, confidence=0.25))
    work.run(spec)
    names = {label.id: label.name for label in server.state.labels.values()}
    shapes = server.person.shapes(1)
    assert [names[shape["label_id"]] for shape in shapes] == ["sand", "coral"]
    assert [shape["score"] for shape in shapes] == [0.91, 0.9]
    values = {value["value"] for shape in shapes for value in shape["attributes"]}
    assert {"91", "90", "sand"} <= values


def test_a_class_without_a_label_stops_before_any_task_is_made(work):
    work.add_image("a.png", square(10, 10, label="corral"))
    with pytest.raises(NodeError, match=r"corral.*no label") as caught:
        work.run(spec_of(prelabels=polygons()))
    assert "coral" in caught.value.hint
    assert work.tasks == []


def test_only_so_many_images_are_chosen_those_of_earlier_runs_included(work):
    for number, score in enumerate((0.9, 0.3, 0.6, 0.35)):
        work.add_image(f"{number}.png", square(10, 10, score=score))
    choose = {"strategy": "uncertain", "n": 2}
    spec = spec_of(prelabels=polygons(), tasks={"from": "sources.photos", "choose": choose})
    work.run(spec)
    work.add_image("4.png", square(10, 10, score=0.2))
    work.run(spec)
    assert [work.frames(task) for task in work.tasks] == [["1.png", "3.png"]]


def test_tasks_without_a_project_have_labels_of_their_own_and_are_known_by_their_mark(work, server):
    work.add_image("a.png", square(10, 10))
    spec = spec_of(project=None, prelabels=polygons())
    work.run(spec)
    work.memory.values.clear()
    outputs = work.run(spec)
    (task,) = work.tasks
    assert (task.project_id, task.bug_tracker.startswith("specrun:")) == (None, True)
    assert [label.name for label in server.state.labels_of(task)] == ["coral", "sand"]
    assert len(work.shapes()["a.png"]) == 1
    assert outputs.facts["skipped"] == 1


def test_skeletons_are_drawn_for_cvat_and_sent_point_by_point(work, server):
    points = Keypoints(label="corner", points=np.array([[5.0, 6.0], [70.0, 80.0]]), names=("TL", "BR"))
    work.add_image("a.png", points)
    labels = {"from": ["taxonomies.reef", "skeletons.corners"], "type": "any"}
    work.run(spec_of(labels=labels, prelabels=polygons(shape="skeleton")))
    label = next(one for one in server.state.labels.values() if one.type == "skeleton")
    assert [point.name for point in label.sublabels] == ["TL", "BR"]
    assert f'data-label-id="{label.sublabels[0].id}"' in label.svg
    assert 'data-node-to="2"' in label.svg
    (shape,) = server.person.shapes(1)
    assert sorted(tuple(element["points"]) for element in shape["elements"]) == [(5, 6), (70, 80)]


def test_assignee_quality_segments_and_overlap_reach_the_task(work, server):
    ann = server.add_user("ann", "secret")
    for name in "abcd":
        work.add_image(f"{name}.png")
    tasks = {"assignee": "ann", "image_quality": 60, "segment_size": 2, "overlap": 1, "size": 9}
    work.run(spec_of(tasks={"from": "sources.photos", **tasks}))
    (task,) = work.tasks
    assert (task.assignee_id, task.media.image_quality, task.segment_size, task.overlap) == (ann.id, 60, 2, 1)
    assert [(job.start_frame, job.stop_frame) for job in server.state.jobs_of(task.id)] == [(0, 1), (1, 2), (2, 3)]


def test_an_unknown_assignee_names_who_is_near(work, server):
    server.add_user("annika", "secret")
    work.add_image("a.png")
    with pytest.raises(NodeError, match='no user "anika"') as caught:
        work.run(spec_of(tasks={"from": "sources.photos", "assignee": "anika"}))
    assert "annika" in caught.value.hint


def test_a_task_that_people_deleted_is_told_and_not_made_again(work, server):
    work.add_image("a.png")
    work.run()
    server.person.delete_task(1)
    outputs = work.run()
    assert work.tasks == []
    assert outputs.facts["task_ids"] == []
    assert "task 1 (train_01) is gone from CVAT; its 1 image counts as sent" in outputs.notes


def test_a_project_that_people_deleted_is_made_anew_with_its_tasks(work, server):
    work.add_image("a.png")
    first = work.run()
    server.person.delete_task(1)
    del server.state.projects[first.facts["project_id"]]
    server.state.labels.clear()
    second = work.run()
    assert second.facts["project_id"] != first.facts["project_id"]
    assert [work.frames(task) for task in work.tasks] == [["a.png"]]


def test_two_projects_of_one_name_are_an_error_that_lists_them(work, server):
    work.add_image("a.png")
    with connect(spec_of(), work.context()) as api:
        for _ in range(2):
            api.post("/api/projects", {"name": "reef"})
    with pytest.raises(NodeError, match='2 projects are called "reef"'):
        work.run()


def test_a_renamed_project_stays_the_same(work, server):
    work.add_image("a.png")
    work.run()
    next(iter(server.state.projects.values())).name = "called otherwise"
    work.add_image("b.png")
    work.run()
    assert len(server.state.projects) == 1
    assert len(work.tasks) == 2


def test_tasks_are_made_in_the_organization_of_their_project(work, server):
    organization = server.add_organization("lab", server.admin)
    work.add_image("a.png", square(10, 10))
    with connect(spec_of(), work.context()) as api:
        labels = [{"name": "coral", "type": "polygon"}]
        api.post("/api/projects", {"name": "reef", "labels": labels}, org_id=organization.id)
    outputs = work.run(spec_of(prelabels=polygons()))
    assert [task.organization_id for task in work.tasks] == [organization.id]
    assert outputs.facts["uploaded"] == 1


def test_a_label_that_the_server_refuses_is_named_and_the_rest_is_sent(work, server, monkeypatch):
    for number in range(6):
        work.add_image(f"{number}.png", square(10, 10), square(60 + number, 20))
    check = annotations.check

    def strict(data):
        if any(shape["points"][0] == 63 for shape in data["shapes"]):
            raise Refused(400, ["no such place"])
        return check(data)

    monkeypatch.setattr(annotations, "check", strict)
    outputs = work.run(spec_of(prelabels=polygons(), tasks={"from": "sources.photos", "size": 6}))
    assert [len(work.shapes()[f"{number}.png"]) for number in range(6)] == [2, 2, 2, 1, 2, 2]
    (told,) = [note for note in outputs.notes if "CVAT took no" in note]
    assert told.startswith('3.png: CVAT took no "coral"')
    assert "no such place" in told


def test_shapes_that_a_label_does_not_allow_are_left_out_and_told(work, server):
    work.add_image("a.png", square(10, 10))
    outputs = work.run(spec_of(prelabels=polygons(shape=None), labels=[{"name": "coral", "type": "rectangle"}]))
    assert work.shapes() == {}
    assert any("with a label of type rectangle" in note for note in outputs.notes)


def test_the_images_that_differ_most_are_sent_and_those_sent_count(work):
    for number in range(5):  # each a little lighter than the one before
        work.add_image(f"{number}.png")
    tasks = {"from": "sources.photos", "choose": {"strategy": "different", "n": 3}}
    outputs = work.run(spec_of(tasks=tasks, prelabels=None))
    assert [sorted(work.frames(task)) for task in work.tasks] == [["0.png", "2.png", "4.png"]]
    assert "3 of 5 images chosen (different)" in outputs.notes
    work.add_image("another_blue.png")
    more = {"from": "sources.photos", "choose": {"strategy": "different", "n": 4}}
    work.run(spec_of(tasks=more, prelabels=None))
    assert [sorted(work.frames(task)) for task in work.tasks][1:] == [["another_blue.png"]]


def test_how_many_were_chosen_and_how_many_labels_went_with_them_is_told(work):
    for name, score in (("a.png", 0.9), ("b.png", 0.5), ("c.png", 0.7)):
        work.add_image(name, square(10, 10, score=score), square(40, 40, score=score))
    tasks = {"from": "sources.photos", "size": 2, "choose": {"strategy": "uncertain", "n": 2}}
    outputs = work.run(spec_of(tasks=tasks, prelabels=polygons()))
    assert (outputs.facts["records"], outputs.facts["chosen"], outputs.facts["labels_sent"]) == (3, 2, 4)
    assert "2 of 3 images chosen (uncertain)" in outputs.notes
    again = work.run(spec_of(tasks=tasks, prelabels=polygons()))
    assert again.facts["labels_sent"] == 0
    assert not any("no prelabels" in note for note in again.notes)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ((), "predictions.masks has no labels for these images"),
        ((square(10, 10, score=0.2),), "predictions.masks has no label above 0.25; the best has 0.20"),
    ],
)
def test_prelabels_that_were_asked_for_and_are_not_there_are_told(work, labels, why):
    work.add_image("a.png", *labels)
    outputs = work.run(spec_of(prelabels=polygons(confidence=0.25)))
    assert outputs.facts["labels_sent"] == 0
    assert f"no prelabels: {why}" in outputs.notes
