import os

import pytest

from specrun.errors import NodeError
from specrun.kinds.exports.coco import Coco, CocoSpec
from specrun.kinds.exports.fiftyone import FiftyOneExport, FiftyOneExportSpec
from specrun.kinds.exports.image_classification import ImageClassification, ImageClassificationSpec
from specrun.kinds.exports.mmseg import MMSeg, MMSegSpec
from specrun.kinds.exports.yolo import Yolo, YoloSpec
from specrun.model.digest import parts_digest
from specrun.model.labels import Box, Tag
from tests.support.fake_dataset import export_context, publish, sample_on_disk

EXPORTS = {
    "yolo": (Yolo(), YoloSpec(dataset="reef")),
    "image_classification": (ImageClassification(), ImageClassificationSpec(dataset="reef")),
    "coco": (Coco(), CocoSpec(dataset="reef")),
    "mmseg": (MMSeg(), MMSegSpec(dataset="reef")),
    "fiftyone": (FiftyOneExport(), FiftyOneExportSpec(dataset="reef", type="VOCDetectionDataset")),
}
BOX = Box(label="coral", x=2, y=3, width=10, height=6)
PARTS = {
    name: f"digest of {name}" for name in ("media", "split", "tags", "fields", "field:ground_truth", "classes", "look")
}


def stale_after(kind, spec, part):
    """Whether a change of one part of the dataset changes what the export depends on."""
    (need,) = kind.inputs(spec)
    return parts_digest(PARTS, need.parts) != parts_digest({**PARTS, part: "another"}, need.parts)


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("part", ["classes", "media", "split", "field:ground_truth"])
def test_changed_classes_images_splits_or_labels_make_every_export_stale(name, part):
    assert stale_after(*EXPORTS[name], part)


@pytest.mark.parametrize("name", EXPORTS)
def test_other_colours_or_info_make_those_stale_that_write_them(name):
    assert stale_after(*EXPORTS[name], "look") == (name in ("coco", "mmseg", "fiftyone"))


@pytest.mark.parametrize("name", EXPORTS)
def test_a_plan_asks_for_the_same_parts_as_a_run(name):
    class Lookup:
        def spec(self, address):
            return None

    kind, spec = EXPORTS[name]
    assert kind.needs(spec, Lookup()) == kind.inputs(spec)


def three_samples(tmp_path):
    return [sample_on_disk(tmp_path / "media", name, [Tag(label="coral")]) for name in ("a.jpg", "b.jpg", "reef.jpg")]


@pytest.mark.parametrize("name", [name for name in EXPORTS if name != "fiftyone"])
def test_images_that_are_gone_are_left_out_and_noted(tmp_path, monkeypatch, name):
    kind, spec = EXPORTS[name]
    samples = three_samples(tmp_path)
    context = export_context(tmp_path, monkeypatch, samples, ["coral"])
    output = publish(context, kind.run(spec, context))
    samples[2].media.unlink()
    context = export_context(tmp_path, monkeypatch, samples, ["coral"], previous=output)
    outputs = kind.run(spec, context)
    assert "1 image is gone: reef.jpg" in outputs.notes
    assert outputs.facts["images"] == 2
    assert sorted(p.stem for p in context.staging.rglob("*.jpg")) == ["a", "b"]


def test_a_link_to_nothing_is_gone(tmp_path, monkeypatch):
    samples = three_samples(tmp_path)
    samples[0].media.rename(tmp_path / "moved.jpg")
    samples[0].media.symlink_to(tmp_path / "nowhere.jpg")
    os.remove(samples[1].media)
    outputs = Yolo().run(YoloSpec(dataset="reef"), export_context(tmp_path, monkeypatch, samples, ["coral"]))
    assert "2 images are gone: a.jpg, b.jpg" in outputs.notes


def test_an_export_whose_images_are_all_gone_is_an_error(tmp_path, monkeypatch):
    samples = three_samples(tmp_path)
    for sample in samples:
        sample.media.unlink()
    with pytest.raises(NodeError, match=r"every image to write is gone: a\.jpg, b\.jpg, reef\.jpg"):
        Yolo().run(YoloSpec(dataset="reef"), export_context(tmp_path, monkeypatch, samples, ["coral"]))


@pytest.mark.parametrize(
    ("kind", "spec", "label"),
    [
        (Yolo(), YoloSpec(dataset="reef", task="pose"), BOX),
        (Yolo(), YoloSpec(dataset="reef", task="detect"), Tag(label="coral")),
        (Yolo(), YoloSpec(dataset="reef", task="segment"), Tag(label="coral")),
        (MMSeg(), MMSegSpec(dataset="reef"), BOX),
    ],
)
def test_images_that_lose_all_their_labels_are_noted(tmp_path, monkeypatch, kind, spec, label):
    samples = [
        sample_on_disk(tmp_path / "media", "a.jpg", [label, label]),
        sample_on_disk(tmp_path / "media", "b.jpg", [label]),
        sample_on_disk(tmp_path / "media", "empty.jpg"),
    ]
    outputs = kind.run(spec, export_context(tmp_path, monkeypatch, samples, ["coral"]))
    assert "2 images lost all their labels and are written as negatives" in outputs.notes


def test_without_a_background_such_images_are_ignored(tmp_path, monkeypatch):
    context = export_context(tmp_path, monkeypatch, [sample_on_disk(tmp_path / "m", "a.jpg", [BOX])], ["coral"])
    outputs = MMSeg().run(MMSegSpec(dataset="reef", background=None), context)
    assert "1 image lost all its labels and is written with every pixel ignored" in outputs.notes
