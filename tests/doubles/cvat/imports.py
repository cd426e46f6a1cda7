"""Annotation files that come back, into a task, a job, or (COCO 1.0 with images) a project as new tasks."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from pycocotools import mask as coco_mask

from tests.doubles.cvat import annotations, import_masks, import_yolo, raster
from tests.doubles.cvat.format_cvat import CUBOID
from tests.doubles.cvat.reading import BINDINGS, Reading, stem, unzipped
from tests.doubles.cvat.state import Failed, Job, Json, Label, Project, State, Task
from tests.doubles.cvat.unpacking import Wanted, media_kind, unpack

SHAPES = ("box", "ellipse", "polygon", "polyline", "points", "cuboid", "skeleton", "mask")


def import_annotations(
    state: State,
    target: Project | Task | Job,
    format_name: str,
    content: bytes,
    *,
    filename: str,
    append: bool,
    conv_mask_to_poly: bool = True,
) -> None:
    """Masks of CVAT and COCO files stay masks, whatever `conv_mask_to_poly` says: so they do on the server."""
    with state.lock:
        if isinstance(target, Project):
            return _into_project(state, target, format_name, content)
        task = state.tasks[target.task_id] if isinstance(target, Job) else target
        data = _read(Reading(state, task), format_name, content, conv_mask_to_poly=conv_mask_to_poly)
        if isinstance(target, Job):
            write = annotations.append_job if append else annotations.put_job
            write(state, target, data)
        else:
            write_task = annotations.append if append else annotations.put
            write_task(state, task, data)


def _read(reading: Reading, format_name: str, content: bytes, *, conv_mask_to_poly: bool) -> Json:
    match format_name:
        case "CVAT 1.1":
            return _cvat(reading, content)
        case "COCO 1.0":
            found: Json = {"tags": [], "shapes": [], "tracks": []}
            for about in _coco_files(content).values():
                found["shapes"].extend(_coco(reading, about))
            return found
        case "COCO Keypoints 1.0":
            skeletons: list[Json] = []
            for about in _coco_files(content).values():
                skeletons.extend(_coco(reading, about, keypoints=True))
            return {"tags": [], "shapes": skeletons, "tracks": []}
        case "YOLO 1.1":
            return import_yolo.darknet(reading, unzipped(content))
        case "Ultralytics YOLO Detection 1.0" | "Ultralytics YOLO Segmentation 1.0":
            return import_yolo.ultralytics(reading, unzipped(content), outlines="Segmentation" in format_name)
        case "Segmentation mask 1.1":
            return import_masks.read(reading, unzipped(content), as_polygons=conv_mask_to_poly)
    raise Failed(f"NotImplementedError: this server double does not import {format_name!r}\n")


def _cvat(reading: Reading, content: bytes) -> Json:
    files = unzipped(content) or {"annotations.xml": content}
    found: Json = {"tags": [], "shapes": [], "tracks": []}
    for name, data in files.items():
        if not name.endswith(".xml"):
            continue
        try:
            root = ElementTree.fromstring(data)
        except ElementTree.ParseError as error:
            raise Failed(f"xml.etree.ElementTree.ParseError: {error}\n") from None
        for image in root.iter("image"):
            _image(reading, image, found)
        found["tracks"].extend(_track(reading, track) for track in root.iter("track"))
    return found


def _image(reading: Reading, image: Element, found: Json) -> None:
    frame = reading.frame(image.attrib["name"], int(image.attrib["id"]))
    described = f"Image {stem(image.attrib['name'])}"
    for number, element in enumerate(image):
        label = reading.label(
            element.attrib["label"], f"{described}: can't import annotation #{number} ({element.tag})"
        )
        given = {one.attrib["name"]: one.text or "" for one in element.findall("attribute")}
        group = int(element.attrib.get("group_id", 0))
        head = {"label_id": label.id, "frame": frame, "group": group, "source": "file"}
        head["attributes"] = reading.values(label, given)
        if element.tag == "tag":
            found["tags"].append(head)
        elif element.tag in SHAPES:
            found["shapes"].append(head | _shape(reading, element, label, frame))


def _shape(reading: Reading, element: Element, label: Label, frame: int) -> Json:
    drawn = _drawn(element)
    drawn["elements"] = [
        _drawn(part)
        | {"frame": frame, "source": "file", "outside": part.attrib["outside"] == "1"}
        | _point_label(reading, part, label)
        for part in element
        if part.tag in SHAPES
    ]
    return drawn


def _point_label(reading: Reading, part: Element, skeleton: Label) -> Json:
    point = reading.names.find(part.attrib["label"], of=skeleton)
    if point is None:
        raise Failed(f"{BINDINGS}.CvatImportError: Label '{part.attrib['label']}' is not registered for this task\n")
    given = {one.attrib["name"]: one.text or "" for one in part.findall("attribute")}
    return {"label_id": point.id, "attributes": reading.values(point, given)}


def _drawn(element: Element) -> Json:
    fields = element.attrib
    return {
        "type": "rectangle" if element.tag == "box" else element.tag,
        "points": _points(element),
        "occluded": fields.get("occluded", "0") == "1",
        "outside": fields.get("outside", "0") == "1",
        "z_order": int(fields.get("z_order", 0)),
        "rotation": float(fields.get("rotation", 0)),
    }


def _points(element: Element) -> list[float]:
    def number(name: str) -> float:
        return float(element.attrib[name])

    match element.tag:
        case "box":
            return [number(name) for name in ("xtl", "ytl", "xbr", "ybr")]
        case "ellipse":
            cx, cy = number("cx"), number("cy")
            return [cx, cy, round(cx + number("rx"), 2), round(cy - number("ry"), 2)]
        case "mask":
            runs = [float(run) for run in element.attrib["rle"].split(",")]
            left, top = number("left"), number("top")
            return [*runs, left, top, left + number("width") - 1, top + number("height") - 1]
        case "cuboid":
            return [number(name) for name in CUBOID]
        case "skeleton":
            return []
        case _:
            return [float(value) for pair in element.attrib["points"].split(";") for value in pair.split(",")]


def _track(reading: Reading, track: Element) -> Json:
    label = reading.label(track.attrib["label"], f"Track {track.attrib.get('id', '')}")
    mutable = {attribute.id for attribute in label.attributes if attribute.mutable}
    found: Json = {
        "label_id": label.id,
        "group": int(track.attrib.get("group_id", 0)),
        "source": "file",
        "shapes": [],
        "attributes": [],
        "elements": [],
    }
    elements: dict[int, Json] = {}
    for shape in (one for one in track if one.tag in SHAPES):
        frame = (int(shape.attrib["frame"]) - reading.first) // reading.step
        given = {one.attrib["name"]: one.text or "" for one in shape.findall("attribute")}
        values = reading.values(label, given)
        for part in (one for one in shape if one.tag in SHAPES and one.attrib["keyframe"] == "1"):
            point = _point_label(reading, part, label)
            head = {"label_id": point["label_id"], "group": 0, "source": "file", "attributes": []}
            element = elements.setdefault(point["label_id"], {**head, "frame": frame, "shapes": []})
            element["shapes"].append(_drawn(part) | {"frame": frame, "attributes": point["attributes"]})
        if shape.attrib["keyframe"] == "1":
            found["attributes"] = [value for value in values if value["spec_id"] not in mutable]
            own = [value for value in values if value["spec_id"] in mutable]
            found["shapes"].append(_drawn(shape) | {"frame": frame, "attributes": own})
    found["elements"] = list(elements.values())
    found["frame"] = found["shapes"][0]["frame"] if found["shapes"] else 0
    return found


def _coco_files(content: bytes) -> dict[str, Json]:
    """By subset. A file that is no zip is read as JSON."""
    files = unzipped(content) or {"instances_default.json": content}
    found = {}
    for name, data in files.items():
        if not name.endswith(".json"):
            continue
        try:
            about = json.loads(data)
        except ValueError:
            raise Failed("orjson.JSONDecodeError: unexpected character: line 1 column 1 (char 0)\n") from None
        for field in ("images", "annotations", "categories"):
            if field not in about:
                raise Failed(f"{BINDINGS}.CvatImportError: Missing annotation field '{field}'\n")
        found[PurePosixPath(name).stem.split("_", 1)[-1]] = about
    if not found:
        raise Failed(f'{BINDINGS}.CvatDatasetNotFoundError: Dataset must contain a file: "annotations/*.json"\n')
    return found


def _coco(reading: Reading, about: Json, *, keypoints: bool = False) -> list[Json]:
    names = {category["id"]: category["name"] for category in about["categories"]}
    by_image: dict[int, list[Json]] = {}
    for annotation in about["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    found = []
    group = 0
    for image in about["images"]:
        frame = reading.frame(image["file_name"])
        for number, annotation in enumerate(by_image.get(image["id"], [])):
            if keypoints:
                found.append(_skeleton(reading, annotation, names[annotation["category_id"]], frame))
                continue
            kind, outlines = _coco_outlines(annotation, image)
            described = f"Image {stem(image['file_name'])}: can't import annotation #{number} ({kind})"
            label = reading.label(names[annotation["category_id"]], described)
            group += len(outlines) > 1
            given = {name: _said(value) for name, value in annotation.get("attributes", {}).items()}
            found.extend(
                {
                    "type": kind,
                    "points": points,
                    "label_id": label.id,
                    "frame": frame,
                    "group": group if len(outlines) > 1 else 0,
                    "source": "file",
                    "occluded": bool(annotation.get("attributes", {}).get("occluded", False)),
                    "z_order": 0,
                    "rotation": float(annotation.get("attributes", {}).get("rotation", 0))
                    if kind == "rectangle"
                    else 0,
                    "attributes": reading.values(label, given),
                }
                for points in outlines
            )
    return found


def _skeleton(reading: Reading, annotation: Json, name: str, frame: int) -> Json:
    label = reading.label(name, "Skeleton")
    values = annotation["keypoints"]
    triples = zip(values[::3], values[1::3], values[2::3], strict=True)
    head = {"frame": frame, "source": "file", "z_order": 0, "rotation": 0, "attributes": []}
    points = [
        {
            **head,
            "type": "points",
            "label_id": point.id,
            "points": [float(x), float(y)],
            "occluded": visible == 1,
            "outside": visible == 0,
        }
        for point, (x, y, visible) in zip(label.sublabels, triples, strict=True)
    ]
    whole = {"type": "skeleton", "label_id": label.id, "points": [], "occluded": False, "group": 0}
    return {**head, **whole, "elements": points}


def _said(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _coco_outlines(annotation: Json, image: Json) -> tuple[str, list[list[float]]]:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        counts = segmentation
        if isinstance(segmentation["counts"], list):
            counts = coco_mask.frPyObjects(segmentation, image["height"], image["width"])
        return "mask", [raster.mask_points(np.asarray(coco_mask.decode(counts), np.uint8))]
    if segmentation:
        return "polygon", [[float(value) for value in polygon] for polygon in segmentation]
    x, y, width, height = (float(value) for value in annotation["bbox"])
    return "rectangle", [[x, y, x + width, y + height]]


def _into_project(state: State, project: Project, format_name: str, content: bytes) -> None:
    """A task for each subset, called after it."""
    if format_name != "COCO 1.0":
        raise Failed(f"NotImplementedError: this server double does not import {format_name!r} into a project\n")
    files = unzipped(content)
    known = {label.name for label in state.labels_of_project(project.id)}
    subsets = _coco_files(content)
    for about in subsets.values():
        for category in about["categories"]:
            if category["name"] not in known:
                raise Failed(
                    f'{BINDINGS}.CvatImportError: Target project does not have label with name "{category["name"]}"\n'
                )
    for subset, about in subsets.items():
        task = _task_of_subset(state, project, subset, files)
        data = {"tags": [], "tracks": [], "shapes": _coco(Reading(state, task), about)}
        annotations.put(state, task, data)


def _task_of_subset(state: State, project: Project, subset: str, files: dict[str, bytes]) -> Task:
    folder = f"images/{subset}/"
    images = {name[len(folder) :]: data for name, data in files.items() if name.startswith(folder)}
    now = state.now()
    task = Task(state.next_id("tasks"), subset, project.owner_id, now, now, project.id, project.organization_id)
    task.subset = subset
    state.tasks[task.id] = task
    task.uploads = [(name, data) for name, data in images.items() if media_kind(name) == "image"]
    task.media = unpack(state, task, Wanted(image_quality=70))
    task.uploads.clear()
    state.make_jobs(task)
    return task
