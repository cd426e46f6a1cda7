"""COCO 1.0 (boxes, polygons, masks) and COCO Keypoints 1.0 (skeletons), one file for each subset."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import groupby

import numpy as np

from tests.doubles.cvat import dataset, raster
from tests.doubles.cvat.dataset import Item, Labels
from tests.doubles.cvat.state import Job, Json, Label, Project, State, Task

EXPORTED = ("rectangle", "polygon", "mask", "ellipse")
INFO = {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""}


def files(state: State, target: Project | Task | Job, *, keypoints: bool = False) -> dict[str, bytes]:
    labels = dataset.labels_of(state, target)
    stem = "person_keypoints" if keypoints else "instances"
    found = {}
    for subset, items in by_subset(state, target).items():
        content = {
            "licenses": [{"name": "", "id": 0, "url": ""}],
            "info": INFO,
            "categories": _keypoint_categories(labels) if keypoints else _categories(labels),
            "images": [_image(number, item) for number, item in enumerate(items, 1)],
            "annotations": [],
        }
        make = _skeletons if keypoints else _instances
        for image_id, item in enumerate(items, 1):
            for annotation in make(item, labels):
                number = len(content["annotations"]) + 1
                content["annotations"].append({"id": number, "image_id": image_id, **annotation})
        found[f"annotations/{stem}_{subset}.json"] = json.dumps(content, separators=(",", ":")).encode()
    return found


def by_subset(state: State, target: Project | Task | Job) -> dict[str, list[Item]]:
    """Every subset of the target, also one whose frames are all deleted."""
    found: dict[str, list[Item]] = {dataset.default_subset(task): [] for task in dataset.tasks_of(state, target)}
    for item in dataset.items(state, target):
        found[item.subset].append(item)
    return found


def image_name(item: Item) -> str:
    in_video = item.task.media is not None and item.task.media.mode == "interpolation"
    return f"{item.name}.PNG" if in_video else item.name


def _image(number: int, item: Item) -> Json:
    width, height = item.size_wh
    place = {"id": number, "width": width, "height": height, "file_name": image_name(item)}
    return {**place, "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}


def _categories(labels: Labels) -> list[Json]:
    return [
        {"id": number, "name": label.name, "supercategory": parent.name if (parent := labels.parent(label)) else ""}
        for number, label in enumerate(labels.every, 1)
    ]


def attributes(shape: Json, labels: Labels) -> Json:
    """By name; checkboxes as booleans, numbers as numbers, then what the shape itself says."""
    kinds = {attribute.name: attribute.input_type for label in labels.every for attribute in label.attributes}
    found: Json = {name: typed(kinds[name], value) for name, value in labels.values(shape).items()}
    found["occluded"] = shape["occluded"]
    if shape["type"] in ("rectangle", "ellipse"):
        found["rotation"] = float(shape.get("rotation", 0))
    if "track_id" in shape:
        found |= {"track_id": shape["track_id"], "keyframe": shape["keyframe"]}
    elif shape["type"] == "skeleton":
        found["keyframe"] = False
    return found


def typed(input_type: str, value: str) -> Json:
    if input_type == "checkbox":
        return value.lower() == "true"
    if input_type == "number":
        return float(value) if "." in value else int(value)
    return value


def _instances(item: Item, labels: Labels) -> Iterable[Json]:
    """Shapes of one group become one annotation: a mask when there is a mask among them, otherwise many polygons."""
    shapes = [shape for shape in item.shapes if shape["type"] in EXPORTED]
    alone = [[shape] for shape in shapes if not shape["group"]]
    grouped = sorted((shape for shape in shapes if shape["group"]), key=lambda shape: shape["group"])
    for group in (*alone, *(list(members) for _, members in groupby(grouped, key=lambda shape: shape["group"]))):
        yield _instance(group, item, labels)


def _instance(group: list[Json], item: Item, labels: Labels) -> Json:
    def area(shape: Json) -> float:
        if shape["type"] == "rectangle":
            x0, y0, x1, y1 = shape["points"]
            return float((x1 - x0) * (y1 - y0))
        if shape["type"] == "polygon":
            return raster.polygons_area([shape["points"]], item.size_wh)
        return float(raster.pixels(shape, item.size_wh).sum())

    leader = max(group, key=area)
    head = {"category_id": labels.index(leader["label_id"]) + 1}
    tail = {"attributes": attributes(leader, labels)}
    drawn = [shape for shape in group if shape["type"] != "rectangle"]
    if any(shape["type"] in ("mask", "ellipse") for shape in drawn):
        whole = np.max([raster.pixels(shape, item.size_wh) for shape in drawn], axis=0)
        return {
            **head,
            "segmentation": raster.uncompressed(whole),
            "area": float(whole.sum()),
            "bbox": raster.tight_box_xywh(whole),
            "iscrowd": 1,
            **tail,
        }
    polygons = [shape["points"] for shape in drawn]
    size = raster.polygons_area(polygons, item.size_wh) if polygons else area(leader)
    box = box_xywh([point for shape in group for point in shape["points"]])
    return {**head, "segmentation": polygons, "area": size, "bbox": box, "iscrowd": 0, **tail}


def box_xywh(points: list[float]) -> list[float]:
    x, y = points[::2], points[1::2]
    return [float(min(x)), float(min(y)), float(max(x) - min(x)), float(max(y) - min(y))]


def _keypoint_categories(labels: Labels) -> list[Json]:
    return [
        {
            "id": labels.index(label.id) + 1,
            "name": label.name,
            "supercategory": "",
            "keypoints": [point.name for point in label.sublabels],
            "skeleton": edges(label),
        }
        for label in labels.top
    ]


def edges(label: Label) -> list[list[int]]:
    """Pairs of points by their place among the sublabels, counted from 1."""
    svg = label.svg or ""
    place = {point.id: number for number, point in enumerate(label.sublabels, 1)}
    nodes = {
        _data(circle, "node-id"): place.get(int(_data(circle, "label-id") or 0), 0)
        for circle in re.findall(r"<circle[^>]*>", svg)
    }
    lines = re.findall(r"<line[^>]*>", svg)
    return [[nodes[_data(line, "node-from")], nodes[_data(line, "node-to")]] for line in lines]


def _data(tag: str, name: str) -> str:
    found = re.search(rf'data-{name}="([^"]*)"', tag)
    return found.group(1) if found else ""


def _skeletons(item: Item, labels: Labels) -> Iterable[Json]:
    for shape in item.shapes:
        if shape["type"] != "skeleton":
            continue
        points = keypoints(shape, labels.by_id(shape["label_id"]))
        seen = [value for x, y, visible in points if visible for value in (x, y)]
        box = box_xywh(seen or [value for x, y, _ in points for value in (x, y)])
        yield {
            "category_id": labels.index(shape["label_id"]) + 1,
            "segmentation": [],
            "area": box[2] * box[3],
            "bbox": box,
            "iscrowd": 0,
            "attributes": attributes(shape, labels),
            "keypoints": [value for point in points for value in point],
            "num_keypoints": sum(visible > 0 for _, _, visible in points),
        }


def keypoints(shape: Json, label: Label) -> list[tuple[float, float, int]]:
    """In the order of the sublabels: x, y, 2 seen, 1 occluded, 0 outside or missing."""
    parts = {part["label_id"]: part for part in shape["elements"]}
    found = []
    for point in label.sublabels:
        part = parts.get(point.id)
        if part is None:
            found.append((0.0, 0.0, 0))
        else:
            visible = 0 if part["outside"] else 1 if part["occluded"] else 2
            found.append((part["points"][0], part["points"][1], visible))
    return found
