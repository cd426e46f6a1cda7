import json

import numpy as np
from pycocotools.coco import COCO

from specrun.formats.coco_write import mask_in_image
from specrun.formats.geometry import box_corners, polygon_area, rasterize
from specrun.kinds.exports.coco import Coco, CocoSpec
from specrun.model.labels import Box, Keypoints, Mask, Part, Polygon
from tests.support.fake_dataset import export_context, publish, sample_on_disk
from tests.support.mixed_dataset import CLASSES, mixed_dataset


def export(tmp_path, monkeypatch, samples, facts=None, declarations=None, **options):
    context = export_context(tmp_path, monkeypatch, samples, CLASSES, facts=facts, declarations=declarations or {})
    outputs = Coco().run(CocoSpec(dataset="reef", **options), context)
    return publish(context, outputs), outputs


def test_pycocotools_sees_the_masks_that_were_drawn(tmp_path, monkeypatch):
    samples = mixed_dataset(tmp_path / "media")
    output, _ = export(tmp_path, monkeypatch, samples)
    coco = COCO(str(output / "annotations/instances_train.json"))
    for sample in samples:
        if sample.split != "train":
            continue
        (image_id,) = [image["id"] for image in coco.loadImgs(coco.getImgIds()) if image["source_name"] == sample.name]
        shapes = [label for label in sample.labels if isinstance(label, Polygon | Mask)]
        rows = [row for row in coco.loadAnns(coco.getAnnIds(imgIds=[image_id])) if row["segmentation"]]
        rows = [row for row in rows if "rotation" not in row.get("attributes", {})]
        assert len(rows) == len(shapes)
        for label, row in zip(shapes, rows, strict=True):
            size = sample.size_wh
            ours = mask_in_image(label, size) if isinstance(label, Mask) else rasterize(label.parts, size)
            assert (coco.annToMask(row).astype(bool) == ours).all()
            assert row["area"] == ours.sum()


def test_areas_and_boxes_agree_with_the_shapes(tmp_path, monkeypatch):
    box = Box(label="coral", x=10, y=10, width=12, height=6, rotation=30)
    output, _ = export(tmp_path, monkeypatch, [sample_on_disk(tmp_path / "media", "a.jpg", [box])])
    (row,) = COCO(str(output / "annotations/instances_train.json")).anns.values()
    corners = box_corners(box)
    assert abs(row["area"] - polygon_area([Part(corners)])) < 1e-6
    assert np.allclose(row["bbox"][:2], corners.min(axis=0))


def test_every_image_lies_where_its_file_name_says(tmp_path, monkeypatch):
    output, _ = export(tmp_path, monkeypatch, mixed_dataset(tmp_path / "media"))
    for split in ("train", "val"):
        content = json.loads((output / f"annotations/instances_{split}.json").read_text())
        for image in content["images"]:
            assert (output / "images" / split / image["file_name"]).exists()


def test_ids_are_unique_over_all_splits(tmp_path, monkeypatch):
    output, _ = export(tmp_path, monkeypatch, mixed_dataset(tmp_path / "media"))
    contents = [json.loads(path.read_text()) for path in (output / "annotations").iterdir()]
    for key in ("images", "annotations"):
        ids = [row["id"] for content in contents for row in content[key]]
        assert len(set(ids)) == len(ids) > 1


def test_info_and_licence_come_from_the_dataset(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg")]
    output, _ = export(tmp_path, monkeypatch, samples, facts={"info": {"license": "CC-BY-4.0", "year": 2024}})
    content = json.loads((output / "annotations/instances_train.json").read_text())
    assert content["info"] == {"description": "p.reef", "year": 2024}
    assert content["licenses"] == [{"id": 1, "name": "CC-BY-4.0", "url": ""}]
    assert [image["license"] for image in content["images"]] == [1]


def test_without_a_licence_no_image_names_one(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg")]
    output, _ = export(tmp_path, monkeypatch, samples, facts={"info": {"license": None}})
    content = json.loads((output / "annotations/instances_train.json").read_text())
    assert content["licenses"] == []
    assert "license" not in content["images"][0]


def test_a_declared_skeleton_gives_points_and_edges(tmp_path, monkeypatch):
    points = Keypoints(label="coral", points=np.array([[5.0, 5], [15, 9]]), names=("l", "r"))
    skeleton = {"label": "coral", "points": ["r", "l"], "edges": [["l", "r"]], "flip_pairs": []}
    output, _ = export(
        tmp_path,
        monkeypatch,
        [sample_on_disk(tmp_path / "media", "a.jpg", [points])],
        declarations={"skeletons.pair": skeleton},
        skeleton="pair",
    )
    coco = COCO(str(output / "annotations/instances_train.json"))
    assert coco.cats[1]["keypoints"] == ["r", "l"]
    assert coco.cats[1]["skeleton"] == [[2, 1]]
    assert next(iter(coco.anns.values()))["keypoints"] == [15, 9, 2, 5, 5, 2]


def test_the_same_dataset_gives_the_same_bytes(tmp_path, monkeypatch):
    samples = mixed_dataset(tmp_path / "media")
    _, first = export(tmp_path, monkeypatch, samples)
    _, second = export(tmp_path / "again", monkeypatch, samples)
    assert dict(first.known_digests) == dict(second.known_digests)
