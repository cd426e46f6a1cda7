import pytest

from specrun.kinds.exports.coco import Coco, CocoSpec
from specrun.kinds.exports.fiftyone import FiftyOneExport, FiftyOneExportSpec
from specrun.kinds.exports.image_classification import ImageClassification, ImageClassificationSpec
from specrun.kinds.exports.mmseg import MMSeg, MMSegSpec
from specrun.kinds.exports.yolo import Yolo, YoloSpec
from specrun.model.digest import parts_digest

EXPORTS = {
    "yolo": (Yolo(), YoloSpec(dataset="reef")),
    "image_classification": (ImageClassification(), ImageClassificationSpec(dataset="reef")),
    "coco": (Coco(), CocoSpec(dataset="reef")),
    "mmseg": (MMSeg(), MMSegSpec(dataset="reef")),
    "fiftyone": (FiftyOneExport(), FiftyOneExportSpec(dataset="reef", type="VOCDetectionDataset")),
}
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
