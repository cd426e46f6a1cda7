from __future__ import annotations

import io
import json
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tests.doubles.cvat import annotations, exports
from tests.doubles.cvat.state import Failed, State, Task
from tests.support.recorded_cvat import (
    GOLDEN,
    add_task,
    golden_archive,
    make_annotated_state,
    make_state,
    recorded,
    unzipped,
)

CHANGING = ("id", "url", "created", "updated", "dumped", "image_quality")


@pytest.fixture(scope="module")
def state() -> State:
    return make_annotated_state()


def archive(state: State, target: Any, name: str, *, save_images: bool = False) -> dict[str, bytes]:
    return unzipped(exports.make_archive(state, target, name, save_images=save_images))


def essence(element: Element) -> tuple[Any, ...]:
    if element.tag in CHANGING:
        return (element.tag,)
    return element.tag, dict(element.attrib), (element.text or "").strip(), [essence(child) for child in element]


@pytest.mark.parametrize(
    ("golden", "kind", "number"),
    [("task_cvat_images", "tasks", 1), ("project_cvat_images", "projects", 1), ("job_cvat_images", "jobs", 2)],
)
def test_cvat_xml_says_what_the_server_said(state: State, golden: str, kind: str, number: int) -> None:
    made = archive(state, getattr(state, kind)[number], "CVAT for images 1.1")
    expected = golden_archive(golden)

    assert made.keys() == expected.keys()
    ours, theirs = (essence(ElementTree.fromstring(files["annotations.xml"])) for files in (made, expected))
    assert ours == theirs


def test_cvat_xml_of_a_task_without_annotations_and_subset_says_default() -> None:
    state = make_state(without_labels=("added",))
    task = add_task(state, "emptyann", "", recorded()["frames"][:2], project_id=1)

    made = ElementTree.fromstring(archive(state, task, "CVAT for images 1.1")["annotations.xml"])

    expected = ElementTree.fromstring(golden_archive("task_empty_cvat")["annotations.xml"])
    assert essence(made) == essence(expected)


def test_images_come_along_when_they_are_wanted(state: State) -> None:
    task = state.tasks[1]

    made = archive(state, task, "CVAT for images 1.1", save_images=True)

    assert task.media is not None
    assert made["images/img_002.jpg"] == task.media.frames[2].original
    assert len([name for name in made if name.startswith("images/")]) == 5


def test_images_of_a_project_lie_in_the_folders_of_their_subsets(state: State) -> None:
    made = archive(state, state.projects[1], "CVAT for images 1.1", save_images=True)

    assert {"images/train/img_004.jpg", "images/val/img_001.jpg"} <= made.keys()


@pytest.mark.parametrize(("golden", "kind", "number"), [("task_coco", "tasks", 1), ("project_coco", "projects", 1)])
def test_coco_says_what_the_server_said(state: State, golden: str, kind: str, number: int) -> None:
    made = archive(state, getattr(state, kind)[number], "COCO 1.0")
    expected = golden_archive(golden)

    assert made.keys() == expected.keys()
    for name in expected:
        same_coco(json.loads(made[name]), json.loads(expected[name]))


def same_coco(made: Any, expected: Any) -> None:
    for key in ("licenses", "info", "categories", "images"):
        assert made[key] == expected[key]
    for ours, theirs in zip(made["annotations"], expected["annotations"], strict=True):
        if isinstance(theirs["segmentation"], dict):
            overlap = coco_mask.iou([rle(ours["segmentation"])], [rle(theirs["segmentation"])], [0])[0][0]
            # An ellipse is drawn a few pixels off.
            assert overlap > 0.99
            ours, theirs = ({**one, "segmentation": None, "area": None} for one in (ours, theirs))
        assert ours == theirs


def rle(segmentation: Any) -> Any:
    return coco_mask.frPyObjects(segmentation, *segmentation["size"])


def test_coco_keypoints_say_what_the_server_said(state: State) -> None:
    made = archive(state, state.tasks[1], "COCO Keypoints 1.0")

    expected = golden_archive("task_coco_kp")
    assert {name: json.loads(data) for name, data in made.items()} == {
        name: json.loads(data) for name, data in expected.items()
    }


def test_datumaro_says_what_the_server_said(state: State) -> None:
    made = archive(state, state.tasks[1], "Datumaro 1.0")

    expected = golden_archive("task_datumaro")
    assert made.keys() == expected.keys()
    assert json.loads(made["annotations/train.json"]) == json.loads(expected["annotations/train.json"])


@pytest.mark.parametrize(
    ("golden", "format_name"),
    [("task_yolo11", "YOLO 1.1"), ("task_yolo_det", "Ultralytics YOLO Detection 1.0")],
)
def test_yolo_boxes_are_byte_for_byte_the_servers(state: State, golden: str, format_name: str) -> None:
    assert archive(state, state.tasks[1], format_name) == golden_archive(golden)


def test_yolo_without_a_subset_is_called_train() -> None:
    state = make_state(without_labels=("added",))
    task = add_task(state, "emptyann", "", recorded()["frames"][:2], project_id=1)

    assert archive(state, task, "YOLO 1.1") == golden_archive("task_empty_yolo11")


def test_yolo_leaves_out_a_subset_called_val(state: State) -> None:
    made = archive(state, state.projects[1], "YOLO 1.1", save_images=True)

    assert "train.txt" in made
    assert not [name for name in made if "val" in name]


def test_yolo_segmentation_has_the_outlines_of_polygons_masks_and_ellipses(state: State) -> None:
    made = archive(state, state.tasks[1], "Ultralytics YOLO Segmentation 1.0")
    expected = golden_archive("task_yolo_seg")

    assert made.keys() == expected.keys()
    for name in expected:
        if not name.startswith("labels/"):
            assert made[name] == expected[name]
            continue
        for ours, theirs in zip(made[name].decode().splitlines(), expected[name].decode().splitlines(), strict=True):
            assert ours.split()[0] == theirs.split()[0]
            # The server's outlines have fewer points.
            assert outline_overlap(ours, theirs) > 0.98


def outline_overlap(ours: str, theirs: str) -> float:
    def drawn(row: str) -> Any:
        points = np.asarray(row.split()[1:], float) * 400
        return coco_mask.merge(coco_mask.frPyObjects([points.tolist()], 400, 400))

    return float(coco_mask.iou([drawn(ours)], [drawn(theirs)], [0])[0][0])


@pytest.mark.parametrize(
    ("golden", "kind", "number"), [("task_segmask", "tasks", 1), ("project_segmask", "projects", 1)]
)
def test_segmentation_masks_are_the_servers(state: State, golden: str, kind: str, number: int) -> None:
    made = archive(state, getattr(state, kind)[number], "Segmentation mask 1.1")
    expected = golden_archive(golden)

    assert made.keys() == expected.keys()
    for name, data in expected.items():
        if not name.endswith(".png"):
            assert made[name] == data
            continue
        ours, theirs = (np.asarray(Image.open(io.BytesIO(one)).convert("RGB"), int) for one in (made[name], data))
        if "Class" in name:
            assert (ours != theirs).any(axis=2).sum() <= 8
        else:
            assert ((ours > 0).any(axis=2) != (theirs > 0).any(axis=2)).sum() <= 8


def test_deleted_frames_are_in_no_export() -> None:
    state = make_annotated_state()
    task = state.tasks[1]
    assert task.media is not None
    task.media.deleted_frames = {0, 2}

    made = json.loads(archive(state, task, "COCO 1.0")["annotations/instances_train.json"])
    xml = ElementTree.fromstring(archive(state, task, "CVAT for images 1.1")["annotations.xml"])

    assert [image["file_name"] for image in made["images"]] == ["img_001.jpg", "img_003.jpg", "img_004.jpg"]
    assert [image.get("id") for image in xml.iter("image")] == ["1", "3", "4"]


def test_frame_numbers_in_xml_are_those_of_the_source() -> None:
    state = make_state()
    task = state.tasks[2]
    assert task.media is not None
    task.media.start_frame, task.media.stop_frame, task.media.frame_filter = 4, 6, "step=2"

    xml = ElementTree.fromstring(archive(state, task, "CVAT for images 1.1")["annotations.xml"])

    assert [image.get("id") for image in xml.iter("image")] == ["4", "6"]


def test_equal_names_in_one_subset_get_a_number() -> None:
    state = make_state()
    add_task(state, "again", "train", recorded()["frames"][:1], project_id=1)

    made = archive(state, state.projects[1], "COCO 1.0", save_images=True)

    assert "images/train/img_000_1.jpg" in made


def track(task: Task, *, outside_last: bool) -> dict[str, Any]:
    def keyframe(frame: int, x: float, *, outside: bool = False) -> dict[str, Any]:
        points = [x, 10.0, x + 20, 40.0]
        drawn = {"type": "rectangle", "frame": frame, "points": points, "outside": outside}
        return {**drawn, "occluded": False, "z_order": 0, "rotation": 0.0, "attributes": []}

    shapes = [keyframe(0, 10), keyframe(2, 30), keyframe(4, 50, outside=outside_last)]
    return {"label_id": 3, "frame": 0, "group": 0, "source": "manual", "attributes": [], "shapes": shapes}


@pytest.fixture
def tracked() -> tuple[State, Task]:
    state = make_state()
    task = add_task(state, "tracked", "train", recorded()["frames"])
    task.project_id = 1
    annotations.put(state, task, {"tags": [], "shapes": [], "tracks": [track(task, outside_last=True)]})
    return state, task


def test_tracks_become_shapes_of_every_frame(tracked: tuple[State, Task]) -> None:
    state, task = tracked

    xml = ElementTree.fromstring(archive(state, task, "CVAT for images 1.1")["annotations.xml"])

    boxes = {image.get("id"): box.get("xtl") for image in xml.iter("image") for box in image.iter("box")}
    assert boxes == {"0": "10.00", "1": "20.00", "2": "30.00", "3": "40.00"}


def test_video_xml_tells_keyframes_and_the_end_of_a_track(tracked: tuple[State, Task]) -> None:
    state, task = tracked

    xml = ElementTree.fromstring(archive(state, task, "CVAT for video 1.1")["annotations.xml"])

    boxes = [tuple(map(box.get, ("frame", "keyframe", "outside", "xtl"))) for box in xml.iter("box")]
    assert boxes == [
        ("0", "1", "0", "10.00"),
        ("1", "0", "0", "20.00"),
        ("2", "1", "0", "30.00"),
        ("3", "0", "0", "40.00"),
        ("4", "1", "1", "50.00"),
    ]


def test_coco_of_a_track_tells_its_number(tracked: tuple[State, Task]) -> None:
    state, task = tracked

    made = json.loads(archive(state, task, "COCO 1.0")["annotations/instances_train.json"])

    told = [one["attributes"] for one in made["annotations"]]
    assert [(one["track_id"], one["keyframe"]) for one in told] == [(0, True), (0, False), (0, True), (0, False)]


def test_skeleton_that_moves_is_drawn_between_its_keyframes() -> None:
    def point(frame: int, x: float, *, occluded: bool = False) -> dict[str, Any]:
        drawn = {"type": "points", "frame": frame, "points": [x, 20.0], "outside": False, "occluded": occluded}
        return {**drawn, "z_order": 0, "rotation": 0.0, "attributes": []}

    def of_points(label_id: int, *shapes: dict[str, Any]) -> dict[str, Any]:
        return {"label_id": label_id, "frame": 0, "group": 0, "source": "manual", "attributes": [], "shapes": [*shapes]}

    state = make_state()
    task = state.tasks[1]
    whole = [{**point(frame, 0), "type": "skeleton", "points": []} for frame in (0, 2)]
    elements = [of_points(8, point(0, 10), point(2, 30)), of_points(9, point(0, 50), point(2, 50, occluded=True))]
    skeleton = {**of_points(7, *whole), "elements": elements}
    annotations.put(state, task, {"tags": [], "shapes": [], "tracks": [skeleton]})

    made = json.loads(archive(state, task, "COCO Keypoints 1.0")["annotations/person_keypoints_train.json"])

    told = {one["image_id"]: one["keypoints"] for one in made["annotations"]}
    assert told[1] == [10.0, 20.0, 2, 50.0, 20.0, 2]
    assert told[2] == [20.0, 20.0, 2, 50.0, 20.0, 2]
    assert told[3] == [30.0, 20.0, 2, 50.0, 20.0, 1]


def test_shapes_of_one_group_are_one_annotation_of_coco() -> None:
    state = make_state()
    task = state.tasks[1]
    square = {"type": "polygon", "label_id": 1, "frame": 0, "group": 5}
    two = [{**square, "points": [x, 10, x + 10, 10, x + 10, 20, x, 20]} for x in (10, 40)]
    annotations.put(state, task, {"tags": [], "shapes": two, "tracks": []})

    made = json.loads(archive(state, task, "COCO 1.0")["annotations/instances_train.json"])

    (one,) = made["annotations"]
    assert len(one["segmentation"]) == 2
    assert (one["bbox"], one["area"]) == ([10.0, 10.0, 40.0, 10.0], 200.0)


def test_format_that_the_double_does_not_write_fails_clearly(state: State) -> None:
    with pytest.raises(Failed, match=r"does not export 'MOT 1\.1'"):
        exports.make_archive(state, state.tasks[1], "MOT 1.1", save_images=False)


def test_task_without_data_cannot_be_exported() -> None:
    state = make_state()
    state.tasks[1].media = None

    with pytest.raises(Failed, match="validation_mode"):
        exports.make_archive(state, state.tasks[1], "COCO 1.0", save_images=True)


def test_stale_cache_hands_out_what_was_exported_before_the_last_edit() -> None:
    state = make_annotated_state()
    task = state.tasks[1]
    before = archive(state, task, "COCO 1.0")
    annotations.put(state, task, {"tags": [], "shapes": [], "tracks": []})

    state.stale_exports = True
    stale = archive(state, task, "COCO 1.0")
    stale_date = exports.archive_date(state, task, "COCO 1.0", save_images=False)
    state.stale_exports = False
    fresh = archive(state, task, "COCO 1.0")

    assert stale == before
    assert stale_date < task.updated_date
    assert not json.loads(fresh["annotations/instances_train.json"])["annotations"]


def shapes_of(data: Any) -> list[Any]:
    """Without ids, in the order of labels and places."""

    def told(shape: Any) -> Any:
        kept = {key: value for key, value in shape.items() if key not in ("id", "score")}
        return kept | {"elements": [told(part) for part in shape.get("elements", [])]}

    return sorted((told(shape) for shape in data["shapes"]), key=lambda shape: (shape["frame"], repr(shape)))


def test_cvat_xml_comes_back_as_the_server_takes_it() -> None:
    state = make_state()
    task = state.tasks[1]

    exports.import_annotations(
        state,
        task,
        "CVAT 1.1",
        (GOLDEN / "task_cvat_images.zip").read_bytes(),
        filename="task_cvat_images.zip",
        append=False,
    )

    expected = recorded()["train_after_cvat_import"]
    made = annotations.of_task(state, task)
    assert shapes_of(made) == shapes_of(expected)
    assert [(tag["label_id"], tag["source"]) for tag in made["tags"]] == [(6, "file")]


def test_coco_comes_back_as_the_server_takes_it() -> None:
    state = make_state()
    task = state.tasks[1]

    exports.import_annotations(
        state, task, "COCO 1.0", (GOLDEN / "task_coco.zip").read_bytes(), filename="coco.zip", append=False
    )

    assert shapes_of(annotations.of_task(state, task)) == shapes_of(recorded()["train_after_coco_import"])


def test_append_keeps_what_is_there_and_replace_does_not() -> None:
    state = make_annotated_state()
    task = state.tasks[1]
    content = (GOLDEN / "task_coco.zip").read_bytes()
    before = len(annotations.of_task(state, task)["shapes"])

    exports.import_annotations(state, task, "COCO 1.0", content, filename="coco.zip", append=True)
    appended = len(annotations.of_task(state, task)["shapes"])
    exports.import_annotations(state, task, "COCO 1.0", content, filename="coco.zip", append=False)

    assert appended == before + 7
    assert len(annotations.of_task(state, task)["shapes"]) == 7


def coco(**changes: Any) -> bytes:
    content = {
        "categories": [{"id": 1, "name": "cell"}],
        "images": [{"id": 1, "file_name": "img_000.jpg", "width": 320, "height": 240}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[20, 30, 100, 30, 100, 110]], "bbox": []}
        ],
    }
    return json.dumps({key: value for key, value in (content | changes).items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            coco(categories=[{"id": 1, "name": "not_in_task"}]),
            r"CvatImportError: Image img_000: can't import annotation #0 \(polygon\): "
            "Label 'not_in_task' is not registered for this task",
        ),
        (
            coco(images=[{"id": 1, "file_name": "no_such_image.jpg", "width": 1, "height": 1}]),
            "CvatImportError: Could not match item id: 'no_such_image' with any task frame",
        ),
        (coco(categories=None), "CvatImportError: Missing annotation field 'categories'"),
        (b"PK\x03\x04junkjunk", "orjson.JSONDecodeError: unexpected character"),
    ],
)
def test_what_the_server_refuses_to_import_fails_with_its_words(content: bytes, message: str) -> None:
    state = make_state()

    with pytest.raises(Failed, match=message):
        exports.import_annotations(state, state.tasks[2], "COCO 1.0", content, filename="x", append=False)


def test_cvat_xml_with_an_image_that_the_task_has_not_fails_and_changes_nothing() -> None:
    state = make_annotated_state()
    task = state.tasks[2]
    before = annotations.of_task(state, task)

    content = (GOLDEN / "task_cvat_images.zip").read_bytes()
    with pytest.raises(Failed, match="Could not match item id: 'img_002' with any task frame"):
        exports.import_annotations(state, task, "CVAT 1.1", content, filename="x", append=False)

    assert annotations.of_task(state, task) == before


@pytest.mark.parametrize(
    ("format_name", "golden", "expected"),
    [
        ("YOLO 1.1", "task_yolo11", {("rectangle", 3, 0)}),
        ("Ultralytics YOLO Detection 1.0", "task_yolo_det", {("rectangle", 3, 0)}),
        (
            "Ultralytics YOLO Segmentation 1.0",
            "task_yolo_seg",
            {("polygon", 2, 0), ("polygon", 1, 0), ("polygon", 1, 1), ("polygon", 6, 3), ("polygon", 1, 4)},
        ),
        (
            "Segmentation mask 1.1",
            "task_segmask",
            {
                ("polygon", 3, 0),
                ("polygon", 1, 0),
                ("polygon", 1, 1),
                ("polygon", 3, 2),
                ("polygon", 6, 3),
                ("polygon", 1, 4),
            },
        ),
        ("COCO Keypoints 1.0", "task_coco_kp", {("skeleton", 7, 0)}),
    ],
)
def test_archives_of_the_server_come_back(format_name: str, golden: str, expected: set[Any]) -> None:
    state = make_state()
    task = state.tasks[1]

    content = (GOLDEN / f"{golden}.zip").read_bytes()
    exports.import_annotations(state, task, format_name, content, filename="x", append=False)

    made = annotations.of_task(state, task)["shapes"]
    assert {(shape["type"], shape["label_id"], shape["frame"]) for shape in made} == expected
    assert len(made) == len(expected)


def test_masks_stay_masks_when_nobody_wants_polygons() -> None:
    state = make_state()
    content = (GOLDEN / "task_segmask.zip").read_bytes()

    exports.import_annotations(
        state, state.tasks[1], "Segmentation mask 1.1", content, filename="x", append=False, conv_mask_to_poly=False
    )

    made = annotations.of_task(state, state.tasks[1])["shapes"]
    assert {shape["type"] for shape in made} == {"mask"}
    assert made[0]["points"][-4:] == [140.0, 60.0, 209.0, 139.0]


def test_yolo_without_its_list_of_files_is_refused_in_the_servers_words() -> None:
    state = make_state()

    with pytest.raises(Failed, match=r'formats/format-yolo\)\. Dataset must contain a file: "obj\.data"'):
        exports.import_annotations(state, state.tasks[1], "YOLO 1.1", b"", filename="x", append=False)


def test_project_without_tasks_gives_an_archive_without_labels() -> None:
    state = make_state()
    state.tasks.clear()

    assert archive(state, state.projects[1], "COCO 1.0") == {}


def test_video_xml_gives_the_track_back(tracked: tuple[State, Task]) -> None:
    state, task = tracked
    content = exports.make_archive(state, task, "CVAT for video 1.1", save_images=False)
    annotations.put(state, task, {"tags": [], "shapes": [], "tracks": []})

    exports.import_annotations(state, task, "CVAT 1.1", content, filename="x", append=False)

    (back,) = annotations.of_task(state, task)["tracks"]
    assert [(shape["frame"], shape["points"][0], shape["outside"]) for shape in back["shapes"]] == [
        (0, 10.0, False),
        (2, 30.0, False),
        (4, 50.0, True),
    ]


def test_dataset_into_a_project_makes_a_task_for_each_subset() -> None:
    source = make_annotated_state()
    content = exports.make_archive(source, source.projects[1], "COCO 1.0", save_images=True)
    state = make_state()
    for label in list(state.labels.values()):
        label.parent_id, label.sublabels = None, []

    exports.import_annotations(state, state.projects[1], "COCO 1.0", content, filename="x", append=False)

    made = [task for task in state.tasks.values() if task.id > 2]
    assert [(task.name, task.subset, task.segment_size) for task in made] == [("train", "train", 5), ("val", "val", 2)]
    assert len(annotations.of_task(state, made[0])["shapes"]) == 7


def test_dataset_with_points_of_skeletons_is_refused_as_the_server_does() -> None:
    state = make_annotated_state()
    content = exports.make_archive(state, state.projects[1], "COCO 1.0", save_images=True)

    with pytest.raises(Failed, match='Target project does not have label with name "head"'):
        exports.import_annotations(state, state.projects[1], "COCO 1.0", content, filename="x", append=False)


def test_backup_of_a_task_holds_what_the_servers_holds() -> None:
    state = make_annotated_state()
    task = state.tasks[1]

    made = unzipped(exports.make_backup(state, task))

    about = json.loads(made["task.json"])
    assert (about["name"], about["subset"], len(about["labels"]), len(about["jobs"])) == ("t-train", "train", 8, 2)
    assert 'data-label-name="head"' in about["labels"][6]["svg"]
    assert len(json.loads(made["annotations.json"])) == 2
    assert task.media is not None
    assert made["data/img_003.jpg"] == task.media.frames[3].original
    assert (
        made["data/manifest.jsonl"].splitlines()[2] == b'{"name":"img_000","extension":".jpg","width":320,"height":240}'
    )


def test_backup_of_a_task_becomes_the_same_task_with_labels_of_its_own() -> None:
    state = make_annotated_state()
    content = exports.make_backup(state, state.tasks[1])

    number = exports.import_backup(state, "task", content, owner_id=1, organization_id=None)

    task = state.tasks[number]
    assert (task.name, task.subset, task.project_id, task.segment_size) == ("t-train", "train", None, 3)
    assert [(job.start_frame, job.stop_frame) for job in state.jobs_of(number)] == [(0, 2), (3, 4)]
    made, expected = annotations.of_task(state, task), annotations.of_task(state, state.tasks[1])
    assert [shape["points"] for shape in made["shapes"]] == [shape["points"] for shape in expected["shapes"]]
    assert {shape["label_id"] for shape in made["shapes"]} <= {label.id for label in state.labels_of(task)}


def test_backup_of_a_project_brings_its_tasks_back() -> None:
    state = make_annotated_state()
    content = exports.make_backup(state, state.projects[1])

    number = exports.import_backup(state, "project", content, owner_id=1, organization_id=None)

    assert [task.name for task in state.tasks_of(number)] == ["t-train", "t-val"]
    assert len(state.labels_of_project(number)) == 8


def test_task_backup_is_no_project_backup() -> None:
    state = make_annotated_state()
    content = exports.make_backup(state, state.tasks[1])

    with pytest.raises(Failed, match=r"project\.json"):
        exports.import_backup(state, "project", content, owner_id=1, organization_id=None)
