"""The double is a server with state: sequences that nobody recorded.

With SPECRUN_TEST_CVAT_URL (and _USER, _PASSWORD) the tests of `cvat_server` run against a real CVAT server.
"""

from __future__ import annotations

import io
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.cvat import CvatServer, cvat_server  # noqa: F401 - a fixture.

pytest.importorskip("cvat_sdk")

from cvat_sdk import Client, make_client, models
from cvat_sdk.core.proxies.projects import Project
from cvat_sdk.core.proxies.tasks import ResourceType, Task

SKELETON = {
    "name": "hand",
    "type": "skeleton",
    "sublabels": [{"name": "thumb", "type": "points"}, {"name": "palm", "type": "points"}],
    "svg": '<circle r="0.75" cx="20" cy="20" data-type="element node" data-element-id="1" data-node-id="1" '
    'data-label-name="thumb"></circle><circle r="0.75" cx="80" cy="80" data-type="element node" '
    'data-element-id="2" data-node-id="2" data-label-name="palm"></circle>',
}
LABELS: list[Any] = [
    {
        "name": "cell",
        "type": "any",
        "color": "#ff0000",
        "attributes": [
            {
                "name": "grade",
                "mutable": False,
                "input_type": "select",
                "values": ["low", "high"],
                "default_value": "low",
            }
        ],
    },
    {"name": "box", "type": "rectangle"},
    SKELETON,
]


@pytest.fixture
def client(cvat_server: CvatServer) -> Iterator[Client]:  # noqa: F811
    with make_client(cvat_server.url, credentials=(cvat_server.user, cvat_server.password)) as made:
        made.config.status_check_period = 0.05 if cvat_server.double else 0.5
        yield made


@pytest.fixture
def project(client: Client) -> Iterator[Project]:
    """With the labels above; a real server gets rid of it again."""
    made = client.projects.create({"name": f"double-{uuid.uuid4().hex[:8]}", "labels": LABELS})
    yield made
    client.projects.retrieve(made.id).remove()


def images(folder: Path, *names: str, size: tuple[int, int] = (64, 48)) -> list[Path]:
    made = []
    for number, name in enumerate(names):
        Image.new("RGB", size, (number * 20, 80, 120)).save(folder / name, "PNG")
        made.append(folder / name)
    return made


def task_of(client: Client, project: Project, files: list[Path], **spec: Any) -> Task:
    return client.tasks.create_from_data(
        spec={"name": "task", "project_id": project.id, **spec},
        resources=[str(file) for file in files],
        resource_type=ResourceType.LOCAL,
        data_params={"image_quality": 70, "sorting_method": "predefined"},
    )


def label_id(project: Project, name: str) -> int:
    return next(int(label.id) for label in project.get_labels() if label.name == name)


def box(label: int, frame: int, *points: float) -> models.LabeledShapeRequest:
    return models.LabeledShapeRequest(
        type="rectangle", label_id=label, frame=frame, points=list(points or (1.0, 2.0, 30.0, 40.0))
    )


def put(task: Task, *shapes: models.LabeledShapeRequest) -> None:
    task.set_annotations(models.LabeledDataRequest(shapes=list(shapes)))


def finish(task: Task) -> None:
    for job in task.get_jobs():
        job.update({"stage": "acceptance", "state": "completed"})


def test_labels_come_back_with_their_attributes_and_the_ids_of_a_skeletons_points(project: Project) -> None:
    cell, box_label, hand = sorted(project.get_labels(), key=lambda label: int(label.id))
    assert (cell.color, cell.attributes[0].default_value, list(cell.attributes[0]["values"])) == (
        "#ff0000",
        "low",
        ["low", "high"],
    )
    assert box_label.color.startswith("#")
    thumb, palm = hand.sublabels
    assert f'data-label-id="{thumb.id}"' in hand.svg
    assert f'data-label-id="{palm.id}"' in hand.svg
    assert "data-label-name" not in hand.svg


def test_frames_keep_the_order_they_were_sent_in_and_their_names(
    client: Client, project: Project, tmp_path: Path
) -> None:
    task = task_of(client, project, images(tmp_path, "b.png", "a.png", "c.png"), segment_size=2)
    meta = task.get_meta()
    assert [frame.name for frame in meta.frames] == ["b.png", "a.png", "c.png"]
    assert [(job.start_frame, job.stop_frame) for job in sorted(task.get_jobs(), key=lambda job: job.id)] == [
        (0, 1),
        (2, 2),
    ]
    with Image.open(task.get_frame(1, quality="original")) as image:
        assert image.size == (64, 48)


def test_boxes_on_frames_that_two_jobs_share_are_told_once(client: Client, project: Project, tmp_path: Path) -> None:
    files = images(tmp_path, *(f"{number}.png" for number in range(5)))
    task = task_of(client, project, files, segment_size=3, overlap=1)
    jobs = sorted(task.get_jobs(), key=lambda job: job.id)
    assert [(job.start_frame, job.stop_frame) for job in jobs] == [(0, 2), (2, 4)]
    label = label_id(project, "cell")
    mask = models.LabeledShapeRequest(type="mask", label_id=label, frame=2, points=[0.0, 4.0, 5.0, 5.0, 6.0, 6.0])
    put(task, box(label, 2), mask)
    assert [len(job.get_annotations().shapes) for job in jobs] == [2, 2]
    told = sorted(str(shape.type) for shape in task.get_annotations().shapes)
    assert told == ["mask", "mask", "rectangle"], "boxes are matched, masks are not"


def test_shapes_come_back_as_they_were_put_with_default_attributes(
    client: Client, project: Project, tmp_path: Path
) -> None:
    task = task_of(client, project, images(tmp_path, "a.png"))
    cell, hand = label_id(project, "cell"), label_id(project, "hand")
    points = next(label for label in project.get_labels() if label.name == "hand").sublabels
    sent = [
        models.LabeledShapeRequest(type="polygon", label_id=cell, frame=0, points=[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]),
        models.LabeledShapeRequest(type="ellipse", label_id=cell, frame=0, points=[20.0, 20.0, 30.0, 10.0]),
        models.LabeledShapeRequest(type="mask", label_id=cell, frame=0, points=[0.0, 4.0, 5.0, 5.0, 6.0, 6.0]),
        models.LabeledShapeRequest(
            type="rectangle", label_id=cell, frame=0, points=[1.0, 1.0, 8.0, 8.0], rotation=30.0, z_order=2, group=4
        ),
        models.LabeledShapeRequest(
            type="skeleton",
            label_id=hand,
            frame=0,
            points=[],
            elements=[
                models.SubLabeledShapeRequest(type="points", label_id=points[0].id, frame=0, points=[3.0, 4.0]),
                models.SubLabeledShapeRequest(
                    type="points", label_id=points[1].id, frame=0, points=[5.0, 6.0], occluded=True
                ),
            ],
        ),
    ]
    put(task, *sent)
    found = {str(shape.type): shape for shape in task.get_annotations().shapes}
    assert set(found) == {"polygon", "ellipse", "mask", "rectangle", "skeleton"}
    assert [value.value for value in found["polygon"].attributes] == ["low"]
    turned = found["rectangle"]
    assert (turned.rotation, turned.z_order, turned.group) == (30.0, 2, 4)
    assert {tuple(element.points): element.occluded for element in found["skeleton"].elements} == {
        (3.0, 4.0): False,
        (5.0, 6.0): True,
    }


def test_a_change_of_one_shape_leaves_the_others_alone(client: Client, project: Project, tmp_path: Path) -> None:
    task = task_of(client, project, images(tmp_path, "a.png", "b.png"))
    label = label_id(project, "box")
    put(task, box(label, 0), box(label, 1))
    first, second = sorted(task.get_annotations().shapes, key=lambda shape: shape.frame)
    changed = models.LabeledShapeRequest(
        type="rectangle", label_id=label, frame=1, id=second.id, points=[5.0, 5.0, 6.0, 6.0]
    )
    task.update_annotations(
        models.PatchedLabeledDataRequest(shapes=[changed], tags=[], tracks=[]),
        action=_action("update"),
    )
    after = {shape.frame: shape for shape in task.get_annotations().shapes}
    assert (after[0].id, after[0].points) == (first.id, first.points)
    assert after[1].points == [5.0, 5.0, 6.0, 6.0]
    task.remove_annotations(ids=[first.id])
    assert [shape.frame for shape in task.get_annotations().shapes] == [1]


def _action(name: str) -> Any:
    from cvat_sdk.core.proxies.annotations import AnnotationUpdateAction

    return AnnotationUpdateAction(name)


def test_a_track_is_cut_where_the_jobs_are_cut(client: Client, project: Project, tmp_path: Path) -> None:
    task = task_of(client, project, images(tmp_path, *(f"{number}.png" for number in range(4))), segment_size=2)
    shapes = [
        models.TrackedShapeRequest(type="rectangle", frame=0, points=[0.0, 0.0, 10.0, 10.0]),
        models.TrackedShapeRequest(type="rectangle", frame=3, points=[30.0, 0.0, 40.0, 10.0]),
    ]
    track = models.LabeledTrackRequest(label_id=label_id(project, "box"), frame=0, shapes=shapes)
    task.set_annotations(models.LabeledDataRequest(tracks=[track]))
    first, second = sorted(task.get_jobs(), key=lambda job: job.start_frame)
    (early,), (late,) = first.get_annotations().tracks, second.get_annotations().tracks
    assert [(shape.frame, shape.points[0]) for shape in early.shapes] == [(0, 0.0), (1, 10.0)]
    assert [(shape.frame, shape.points[0]) for shape in late.shapes] == [(2, 20.0), (3, 30.0)]
    told = [[(shape.frame, shape.outside) for shape in track.shapes] for track in task.get_annotations().tracks]
    assert told == [[(0, False), (1, False), (2, True)], [(2, False), (3, False)]]


def test_a_task_is_completed_when_every_job_is_and_falls_back_when_one_is_reopened(
    client: Client, project: Project, tmp_path: Path
) -> None:
    task = task_of(client, project, images(tmp_path, "a.png", "b.png"), segment_size=1)
    first, second = task.get_jobs()
    first.update({"stage": "acceptance", "state": "completed"})
    assert client.tasks.retrieve(task.id).status == "annotation"
    second.update({"stage": "acceptance", "state": "completed"})
    assert client.tasks.retrieve(task.id).status == "completed"
    first.update({"stage": "annotation"})
    assert client.jobs.retrieve(first.id).state == "new"
    assert client.tasks.retrieve(task.id).status == "annotation"


def test_an_edit_moves_the_dates_of_job_task_and_project_and_a_jobs_state_only_its_own(
    client: Client, project: Project, tmp_path: Path
) -> None:
    task = task_of(client, project, images(tmp_path, "a.png"))
    (job,) = task.get_jobs()

    def dates() -> tuple[Any, Any, Any]:
        things = client.jobs.retrieve(job.id), client.tasks.retrieve(task.id), client.projects.retrieve(project.id)
        return tuple(thing.updated_date for thing in things)  # type: ignore[return-value]

    before = dates()
    put(task, box(label_id(project, "box"), 0))
    edited = dates()
    assert all(new > old for new, old in zip(edited, before, strict=True))
    job.update({"state": "in progress"})
    worked = dates()
    assert worked[0] > edited[0]
    assert worked[1:] == edited[1:]


def test_deleting_a_label_takes_its_shapes_and_touches_every_task(
    client: Client, project: Project, tmp_path: Path
) -> None:
    drawn = task_of(client, project, images(tmp_path, "a.png"))
    other = task_of(client, project, images(tmp_path, "b.png"))
    label, kept = label_id(project, "box"), label_id(project, "cell")
    put(drawn, box(label, 0), box(kept, 0))
    before = client.tasks.retrieve(other.id).updated_date
    project.update({"labels": [{"id": label, "deleted": True}]})
    assert [shape.label_id for shape in drawn.get_annotations().shapes] == [kept]
    assert client.tasks.retrieve(other.id).updated_date > before


def test_lists_are_filtered_sorted_and_paged(client: Client, project: Project) -> None:
    made = [
        client.tasks.create({"name": f"t{number}", "project_id": project.id, "subset": subset, "bug_tracker": tracker})
        for number, (subset, tracker) in enumerate([("train", "specrun:a"), ("val", "specrun:b"), ("train", "")])
    ]
    listed, _ = client.api_client.tasks_api.list(project_id=project.id, page_size=2)
    assert (listed.count, [task.name for task in listed.results]) == (3, ["t2", "t1"])
    assert "page=2" in listed.next
    rules = '{"and":[{"==":[{"var":"tracker_link"},"specrun:b"]}]}'
    found, _ = client.api_client.tasks_api.list(filter=rules, project_id=project.id)
    assert [task.id for task in found.results] == [made[1].id]
    by_subset, _ = client.api_client.tasks_api.list(project_id=project.id, subset="train", sort="name")
    assert [task.name for task in by_subset.results] == ["t0", "t2"]
    since = f'{{">=":[{{"var":"updated_date"}},"{made[2].updated_date.isoformat()}"]}}'
    late, _ = client.api_client.tasks_api.list(project_id=project.id, filter=since)
    assert [task.name for task in late.results] == ["t2"]


def test_an_export_holds_what_was_just_drawn(client: Client, project: Project, tmp_path: Path) -> None:
    task = task_of(client, project, images(tmp_path, "a.png"))
    for count in (1, 2):
        put(task, *(box(label_id(project, "box"), 0) for _ in range(count)))
        archive = tmp_path / f"{count}.zip"
        task.export_dataset("CVAT for images 1.1", archive, include_images=False)
        with zipfile.ZipFile(archive) as opened:
            assert opened.read("annotations.xml").count(b"<box") == count


def test_a_deleted_frame_stays_in_the_meta_and_is_named_there(client: Client, project: Project, tmp_path: Path) -> None:
    task = task_of(client, project, images(tmp_path, "a.png", "b.png"))
    task.remove_frames_by_ids([1])
    meta = task.get_meta()
    assert (list(meta.deleted_frames), len(meta.frames)) == ([1], 2)


def test_a_compressed_frame_is_an_image_of_the_same_size(client: Client, project: Project, tmp_path: Path) -> None:
    task = task_of(client, project, images(tmp_path, "a.png", size=(90, 70)))
    with Image.open(io.BytesIO(task.get_frame(0, quality="compressed").read())) as image:
        assert image.size == (90, 70)
