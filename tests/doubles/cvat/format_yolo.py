"""YOLO 1.1 (upright boxes) and the Ultralytics formats: detection, segmentation, oriented boxes, pose, classification
left out."""

from __future__ import annotations

from pathlib import PurePosixPath

from tests.doubles.cvat import dataset, raster
from tests.doubles.cvat.dataset import Item, Labels
from tests.doubles.cvat.format_coco import by_subset, image_name, keypoints
from tests.doubles.cvat.state import Job, Json, Project, State, Task

DARKNET_SUBSETS = ("train", "valid")


def darknet(state: State, target: Project | Task | Job, *, save_images: bool) -> dict[str, bytes]:
    """Other subsets than `train` and `valid` are left out, as by the real server; no subset is `train`."""
    labels = dataset.labels_of(state, target)
    found: dict[str, bytes] = {}
    listed = []
    for subset, items in by_subset(state, target).items():
        name = "train" if subset == "default" else subset
        if name not in DARKNET_SUBSETS:
            continue
        folder = f"obj_{name}_data"
        listed.append(name)
        for item in items:
            rows = [_box(shape, item, labels.index(shape["label_id"])) for shape in item.shapes if _upright(shape)]
            found[f"{folder}/{_text_name(item)}"] = _rows(rows)
            if save_images:
                found[f"{folder}/{image_name(item)}"] = item.content()
        found[f"{name}.txt"] = _rows([f"data/{folder}/{image_name(item)}" for item in items])
    found["obj.names"] = _rows([label.name for label in labels.every])
    lists = [f"{name} = data/{name}.txt" for name in listed]
    head = [f"classes = {len(labels.every)}", *lists]
    found["obj.data"] = _rows([*head, "names = data/obj.names", "backup = backup/"])
    return found


def _text_name(item: Item) -> str:
    return str(PurePosixPath(image_name(item)).with_suffix(".txt"))


def _rows(rows: list[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def _upright(shape: Json) -> bool:
    return shape["type"] == "rectangle" and not shape.get("rotation")


def _box(shape: Json, item: Item, number: int) -> str:
    x0, y0, x1, y1 = shape["points"]
    width, height = item.size_wh
    return _row(number, [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height])


def _row(number: int, values: list[float]) -> str:
    return " ".join([str(number), *(f"{value:.6f}" for value in values)])


def ultralytics(state: State, target: Project | Task | Job, what: str, *, save_images: bool) -> dict[str, bytes]:
    """what: Detection, Segmentation, Pose or Oriented Bounding Boxes. Images without labels have no text file."""
    labels = dataset.labels_of(state, target)
    classes = Labels([label for label in labels.top if what != "Pose" or label.type == "skeleton"])
    found: dict[str, bytes] = {}
    lists = {}
    for subset, items in by_subset(state, target).items():
        name = "train" if subset == "default" else subset
        for item in items:
            rows = [row for shape in item.shapes for row in _ultralytics_rows(shape, item, classes, what)]
            if rows:
                found[f"labels/{name}/{_text_name(item)}"] = _rows(rows)
            if save_images:
                found[f"images/{name}/{image_name(item)}"] = item.content()
        lists[name] = f"{name}.txt"
        found[f"{name}.txt"] = _rows([f"data/images/{name}/{image_name(item)}" for item in items])
    found["data.yaml"] = _data_yaml(classes, lists, what)
    return found


def _data_yaml(classes: Labels, lists: dict[str, str], what: str) -> bytes:
    lines = [f"  {number}: {label.name}" for number, label in enumerate(classes.every)]
    entries = [f"{name}: {path}" for name, path in sorted([*lists.items(), ("path", ".")])]
    shape = []
    if what == "Pose":
        most = max((len(label.sublabels) for label in classes.every), default=0)
        shape = [f"kpt_shape: [{most}, 3]"]
    return _rows([*shape, "names:", *lines, *entries])


def _ultralytics_rows(shape: Json, item: Item, classes: Labels, what: str) -> list[str]:
    if all(shape["label_id"] != label.id for label in classes.every):
        return []
    number = classes.index(shape["label_id"])
    match what:
        case "Detection":
            return [_box(shape, item, number)] if _upright(shape) else []
        case "Segmentation":
            return [_row(number, _shares(outline, item)) for outline in _outlines(shape, item)]
        case "Oriented Bounding Boxes":
            return [_row(number, _shares(raster.corners(shape), item))] if shape["type"] == "rectangle" else []
        case _:
            return [_pose(shape, item, classes, number)] if shape["type"] == "skeleton" else []


def _outlines(shape: Json, item: Item) -> list[list[float]]:
    if shape["type"] == "polygon":
        return [shape["points"]]
    if shape["type"] in ("mask", "ellipse"):
        return [outline for outline in raster.outline(raster.pixels(shape, item.size_wh)) if len(outline) >= 6]
    return []


def _shares(points: list[float], item: Item) -> list[float]:
    return [value / item.size_wh[place % 2] for place, value in enumerate(points)]


def _pose(shape: Json, item: Item, classes: Labels, number: int) -> str:
    most = max(len(label.sublabels) for label in classes.every)
    points = keypoints(shape, classes.by_id(shape["label_id"]))
    seen = [(x, y) for x, y, visible in points if visible] or [(0.0, 0.0)]
    left, right = min(x for x, _ in seen), max(x for x, _ in seen)
    top, bottom = min(y for _, y in seen), max(y for _, y in seen)
    row = [_box({"points": [left, top, right, bottom]}, item, number)]
    padded = [*points, *([(0.0, 0.0, 0)] * (most - len(points)))]
    width, height = item.size_wh
    row.extend(f"{x / width:.6f} {y / height:.6f} {visible}" for x, y, visible in padded)
    return " ".join(row)
