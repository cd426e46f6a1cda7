"""Datumaro 1.0: one JSON for each subset."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from pycocotools import mask as coco_mask

from tests.doubles.cvat import dataset, format_coco, raster
from tests.doubles.cvat.dataset import Item, Labels
from tests.doubles.cvat.state import Job, Json, Project, State, Task

NAMES = {"rectangle": "bbox"}


def files(state: State, target: Project | Task | Job, *, save_images: bool) -> dict[str, bytes]:
    labels = dataset.labels_of(state, target)
    found = {}
    for subset, items in format_coco.by_subset(state, target).items():
        content = {
            "info": {},
            "categories": _categories(labels),
            "items": [_item(item, labels) for item in items],
        }
        found[f"annotations/{subset}.json"] = json.dumps(content, separators=(",", ":")).encode()
        if save_images:
            found |= {f"images/{subset}/{format_coco.image_name(item)}": item.content() for item in items}
    return found


def _categories(labels: Labels) -> Json:
    names = {attribute.name for label in labels.every for attribute in label.attributes}
    listed = [
        {"name": label.name, "parent": parent.name if (parent := labels.parent(label)) else "", "attributes": []}
        for label in labels.every
    ]
    points = [
        {
            "label_id": labels.index(label.id),
            "labels": [point.name for point in label.sublabels],
            "joints": format_coco.edges(label),
        }
        for label in labels.top
        if label.type == "skeleton"
    ]
    found: Json = {"label": {"labels": listed, "attributes": sorted({"occluded", *names})}}
    return found | {"points": {"items": points}} if points else found


def _item(item: Item, labels: Labels) -> Json:
    width, height = item.size_wh
    shapes = [_shape(shape, item, labels) for shape in item.shapes if shape["type"] != "cuboid"]
    return {
        "id": str(PurePosixPath(item.name).with_suffix("")),
        "annotations": [*(_tag(tag, labels) for tag in item.tags), *shapes],
        "attr": {"frame": item.number},
        "image": {"path": format_coco.image_name(item), "size": [height, width]},
    }


def _tag(tag: Json, labels: Labels) -> Json:
    values = {attribute.name: attribute.input_type for label in labels.every for attribute in label.attributes}
    own = {name: format_coco.typed(values[name], value) for name, value in labels.values(tag).items()}
    place = labels.index(tag["label_id"])
    return {"id": 0, "type": "label", "attributes": own, "group": tag["group"], "label_id": place}


def _shape(shape: Json, item: Item, labels: Labels) -> Json:
    found = {
        "id": 0,
        "type": NAMES.get(shape["type"], shape["type"]),
        "attributes": format_coco.attributes(shape, labels),
        "group": shape["group"],
        "label_id": labels.index(shape["label_id"]),
    }
    points, order = shape["points"], {"z_order": shape["z_order"]}
    match shape["type"]:
        case "mask":
            packed = coco_mask.encode(raster.mask_pixels(points, item.size_wh).copy(order="F"))
            return found | {"rle": {"counts": packed["counts"].decode(), "size": list(packed["size"])}} | order
        case "rectangle":
            return found | order | {"bbox": format_coco.box_xywh(points)}
        case "ellipse":
            cx, cy, right, top = points
            return found | {"points": [cx - (right - cx), top, right, cy + (cy - top)]} | order
        case "skeleton":
            label = labels.by_id(shape["label_id"])
            placed = format_coco.keypoints(shape, label)
            values = [value for point in placed for value in point]
            return found | {"points": values, "points_attributes": [{} for _ in placed]}
        case "points":
            return found | {"points": points} | order | {"visibility": [2] * (len(points) // 2)}
        case _:
            return found | {"points": points} | order
