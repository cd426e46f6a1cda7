import numpy as np
import pytest
from PIL import Image

from specrun.errors import FormatError, NodeError
from specrun.kinds.exports.yolo import Yolo, YoloSpec
from specrun.model.labels import Box, Keypoints, Polygon, Tag
from tests.support.fake_dataset import export_context, publish, sample_on_disk
from tests.support.mixed_dataset import CLASSES, mixed_dataset

BOX = Box(label="coral", x=2, y=3, width=10, height=6)


def export(tmp_path, monkeypatch, samples, classes=CLASSES, **options):
    context = export_context(tmp_path, monkeypatch, samples, classes)
    outputs = Yolo().run(YoloSpec(dataset="reef", **options), context)
    return publish(context, outputs), outputs


def checked_by_ultralytics(output, task, points=0):
    """What Ultralytics' own check says of each image: its row, or the message why it is corrupt."""
    from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

    data = check_det_dataset(str(output / "data.yaml"), autodownload=False)
    rows = {}
    for split in ("train", "val"):
        for image in sorted((output / "images" / split).iterdir()):
            (label,) = img2label_paths([str(image)])
            arguments = (str(image), label, "", task == "pose", len(data["names"]), points, 3 if points else 0, False)
            row = verify_image_label(arguments)
            assert row[0] is not None, row[-1]
            assert row[-1] == ""
            rows[image.name] = row
    return data, rows


@pytest.mark.parametrize(
    ("task", "objects"),
    [("detect", 6), ("segment", 6), ("obb", 6), ("pose", 1)],
)
def test_ultralytics_accepts_every_label_file(tmp_path, monkeypatch, task, objects):
    output, _ = export(tmp_path, monkeypatch, mixed_dataset(tmp_path / "media"), task=task)
    data, rows = checked_by_ultralytics(output, task, points=3 if task == "pose" else 0)
    assert list(data["names"].values()) == list(CLASSES)
    assert sum(len(row[1]) for row in rows.values()) == objects
    assert sum(row[5] for row in rows.values()) == 0, "no label file is missing"


def test_ultralytics_sees_the_pixels_that_were_labelled(tmp_path, monkeypatch):
    from ultralytics.utils.patches import imread

    output, outputs = export(tmp_path, monkeypatch, mixed_dataset(tmp_path / "media"))
    assert imread(str(output / "images/val/turned.png")).shape == (30, 40, 3)
    assert "1 image was written as upright RGB PNG because of EXIF orientation" in outputs.notes


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "P"])
def test_unusual_images_become_rgb(tmp_path, monkeypatch, mode):
    media = tmp_path / "media"
    media.mkdir()
    name = "a.jpg" if mode == "CMYK" else "a.png"
    options = {"transparency": 0} if mode == "P" else {}
    Image.new(mode, (40, 30)).save(media / name, **options)
    output, _ = export(tmp_path, monkeypatch, [sample_on_disk(media, name, [BOX])])
    assert Image.open(output / "images/train/a.png").mode == "RGB"


def test_every_image_has_a_label_file_of_its_own(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", name, [BOX]) for name in ("a.jpg", "a.png", "b/a.jpg", "ü.jpg")]
    output, _ = export(tmp_path, monkeypatch, samples)
    images = sorted(p.stem for p in (output / "images/train").iterdir())
    assert sorted(p.stem for p in (output / "labels/train").iterdir()) == images
    assert len(images) == 4


def test_unannotated_images_can_be_left_out(tmp_path, monkeypatch):
    samples = [
        sample_on_disk(tmp_path / "media", "a.jpg", annotated=False),
        sample_on_disk(tmp_path / "media", "b.jpg"),
    ]
    output, outputs = export(tmp_path, monkeypatch, samples, unannotated="skip")
    assert [p.name for p in (output / "images/train").iterdir()] == ["b.jpg"]
    assert "1 image without annotation is left out" in outputs.notes


def test_only_images_with_a_split_are_written(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", f"{i}.jpg", split=split) for i, split in enumerate(("val", None))]
    _, outputs = export(tmp_path, monkeypatch, samples)
    assert outputs.facts["splits"] == {"val": 1}
    assert "1 image without a split is left out" in outputs.notes
    assert "no image is in train; Ultralytics needs train and val" in outputs.notes


def test_no_split_at_all_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg", split=None)]
    with pytest.raises(NodeError, match=r"datasets\.reef: none of its 1 images is in a split\. Add `split:`"):
        export(tmp_path, monkeypatch, samples)


def test_an_empty_dataset_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(NodeError, match=r"datasets\.reef has no images"):
        export(tmp_path, monkeypatch, [])


def test_a_label_outside_the_taxonomy_is_an_error(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg", [BOX])]
    context = export_context(tmp_path, monkeypatch, samples, ["other"], config={"taxonomy": "reef"})
    with pytest.raises(FormatError, match="is not among the classes"):
        Yolo().run(YoloSpec(dataset="reef"), context)


def test_without_a_taxonomy_new_classes_follow_the_known_ones(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg", [BOX])]
    _, outputs = export(tmp_path, monkeypatch, samples, classes=["other"])
    assert outputs.facts["classes"] == ["other", "coral"]


def test_awkward_class_names_survive_the_yaml(tmp_path, monkeypatch):
    from ruamel.yaml import YAML

    classes = ["no", "1.0", 'a: "b"', "# c", "é\n", "null", "{x}"]
    output, _ = export(tmp_path, monkeypatch, [sample_on_disk(tmp_path / "media", "a.jpg")], classes=classes)
    assert list(YAML(typ="safe").load(output / "data.yaml")["names"].values()) == classes


def test_tiny_images_are_counted_because_ultralytics_skips_them(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.png", size_wh=(9, 30))]
    _, outputs = export(tmp_path, monkeypatch, samples)
    assert "1 image smaller than 10 pixels is skipped by Ultralytics" in outputs.notes


def test_the_declared_skeleton_orders_the_points(tmp_path, monkeypatch):
    points = Keypoints(label="coral", points=np.array([[5.0, 5], [15, 9]]), names=("l", "r"))
    skeleton = {"label": "coral", "points": ["r", "l"], "edges": [], "flip_pairs": [["l", "r"]]}
    context = export_context(
        tmp_path,
        monkeypatch,
        [sample_on_disk(tmp_path / "media", "a.jpg", [points])],
        CLASSES,
        declarations={"skeletons.pair": skeleton},
    )
    Yolo().run(YoloSpec(dataset="reef", task="pose", skeleton="pair"), context)
    assert "flip_idx: [1, 0]" in (context.staging / "data.yaml").read_text()
    assert (context.staging / "labels/train/a.txt").read_text().split()[5:7] == ["0.375", "0.3"]


def test_classify_sorts_images_into_class_folders(tmp_path, monkeypatch):
    samples = [
        sample_on_disk(tmp_path / "media", "a.jpg", [Tag(label="Pavona/Leptoseris")]),
        sample_on_disk(tmp_path / "media", "b.jpg", [Tag(label="coral"), Tag(label="sea star")], split="val"),
    ]
    output, outputs = export(tmp_path, monkeypatch, samples, task="classify")
    assert (output / "train/Pavona_Leptoseris/a.jpg").exists()
    assert (output / "val/coral/b.jpg").exists()
    assert sorted(p.name for p in (output / "val").iterdir()) == ["Pavona_Leptoseris", "coral", "sea star"]
    assert "1 image with several tags is sorted by the first" in outputs.notes


def test_a_changed_label_changes_its_file_alone(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", f"{i}.jpg", [BOX]) for i in range(3)]
    before, _ = export(tmp_path, monkeypatch, samples)
    samples[1] = sample_on_disk(tmp_path / "media", "1.jpg", [BOX, BOX])
    context = export_context(tmp_path, monkeypatch, samples, CLASSES, previous=before)
    Yolo().run(YoloSpec(dataset="reef", task="detect"), context)
    full = export_context(tmp_path / "fresh", monkeypatch, samples, CLASSES)
    Yolo().run(YoloSpec(dataset="reef", task="detect"), full)
    for path in full.staging.rglob("*.txt"):
        assert (context.staging / path.relative_to(full.staging)).read_text() == path.read_text()


def test_progress_and_stop_are_heeded(tmp_path, monkeypatch):
    from specrun.errors import StopRequested

    samples = [sample_on_disk(tmp_path / "media", "a.jpg")]
    context = export_context(tmp_path, monkeypatch, samples, CLASSES)
    Yolo().run(YoloSpec(dataset="reef"), context)
    assert (context.events[-1].done, context.events[-1].total, context.events[-1].unit) == (1, 1, "images")
    with pytest.raises(StopRequested):
        Yolo().run(YoloSpec(dataset="reef"), export_context(tmp_path, monkeypatch, samples, CLASSES, stop=lambda: True))


def test_it_needs_media_splits_and_the_datasets_own_label_field():
    class Lookup:
        def spec(self, address):
            assert address == "datasets.reef"
            return type("Dataset", (), {"label_field": "mended"})()

    (need,) = Yolo().needs(YoloSpec(dataset="reef"), Lookup())
    assert (need.role, need.ref, need.parts) == (
        "dataset",
        "datasets.reef",
        ("media", "split", "field:mended", "classes"),
    )
    (need,) = Yolo().needs(YoloSpec(dataset="reef", where=[{"field": "year", "gte": 2021}]), Lookup())
    assert need.parts == ("media", "split", "field:mended", "classes", "tags", "fields")


def test_polygons_survive_the_way_out_and_back(tmp_path, monkeypatch):
    """With the reader: what segment can hold comes back, holes as slits of the same area."""
    from specrun.formats.geometry import polygon_area, rasterize

    output, _ = export(tmp_path, monkeypatch, mixed_dataset(tmp_path / "media"))
    rows = [line.split() for line in (output / "labels/train/2021__reef.txt").read_text().splitlines()]
    from specrun.model.labels import Part

    ring = np.array(rows[2][1:], dtype=np.float64).reshape(-1, 2) * (40, 30)
    held = next(s for s in mixed_dataset(tmp_path / "media") if s.name == "2021/reef.jpg")
    (polygon,) = [label for label in held.labels if isinstance(label, Polygon)]
    assert (rasterize([Part(ring)], (40, 30)) == rasterize(polygon.parts, (40, 30))).all()
    assert abs(polygon_area([Part(ring)]) - polygon_area(polygon.parts)) < 1e-6
