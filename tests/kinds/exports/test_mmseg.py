import json

import numpy as np
import pytest
from PIL import Image

from specrun.errors import NodeError
from specrun.kinds.exports.mmseg import MMSeg, MMSegSpec
from specrun.model.labels import Part, Polygon
from tests.support.fake_dataset import export_context, publish, sample_on_disk

LEFT_HALF = Polygon(label="coral", parts=(Part(np.array([[0, 0], [20, 0], [20, 30], [0, 30]], dtype=np.float64)),))


def export(tmp_path, monkeypatch, samples, facts=None, **options):
    context = export_context(tmp_path, monkeypatch, samples, ["coral", "rock"], facts=facts)
    outputs = MMSeg().run(MMSegSpec(dataset="reef", **options), context)
    return publish(context, outputs), outputs


def label_map(output, name="a", split="train"):
    return np.asarray(Image.open(output / "annotations" / split / f"{name}.png"))


def test_every_image_has_a_label_map_of_its_size(tmp_path, monkeypatch):
    output, _ = export(tmp_path, monkeypatch, [sample_on_disk(tmp_path / "media", "a.jpg", [LEFT_HALF])])
    drawn = label_map(output)
    assert drawn.shape == (30, 40)
    assert (drawn[:, :20] == 1).all()
    assert (drawn[:, 20:] == 0).all()


def test_the_palette_and_meta_have_the_colours_of_the_taxonomy(tmp_path, monkeypatch):
    output, outputs = export(
        tmp_path,
        monkeypatch,
        [sample_on_disk(tmp_path / "media", "a.jpg", [LEFT_HALF])],
        facts={"colors": {"coral": "#e6194b"}},
    )
    meta = json.loads((output / "meta.json").read_text())
    assert (meta["classes"], meta["palette"][1]) == (["background", "coral", "rock"], [230, 25, 75])
    assert Image.open(output / "annotations/train/a.png").convert("RGB").getpixel((0, 0)) == (230, 25, 75)
    assert outputs.facts["classes"] == ["background", "coral", "rock"]


def test_reduce_zero_label_lists_the_classes_without_the_background(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg", [LEFT_HALF])]
    output, outputs = export(tmp_path, monkeypatch, samples, reduce_zero_label=True)
    assert outputs.facts["classes"] == ["coral", "rock"]
    assert len(json.loads((output / "meta.json").read_text())["palette"]) == 2
    (problem,) = MMSeg().check(MMSegSpec(dataset="reef", background=None, reduce_zero_label=True), None)
    assert problem.path == "reduce_zero_label"


@pytest.mark.parametrize(("policy", "value"), [("negative", 0), ("ignore", 255)])
def test_unannotated_images_are_background_or_ignored(tmp_path, monkeypatch, policy, value):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg", annotated=False)]
    output, _ = export(tmp_path, monkeypatch, samples, unannotated=policy)
    assert (label_map(output) == value).all()


def test_leaving_out_everything_is_an_error(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg", annotated=False)]
    with pytest.raises(NodeError, match="no image is left to write"):
        export(tmp_path, monkeypatch, samples, unannotated="skip")


def test_transforms_change_image_and_label_map_alike(tmp_path, monkeypatch):
    pixels = np.zeros((30, 40, 3), dtype=np.uint8)
    pixels[:, :20] = 200
    (tmp_path / "media").mkdir()
    Image.fromarray(pixels).save(tmp_path / "media" / "a.png")
    samples = [sample_on_disk(tmp_path / "media", "a.png", [LEFT_HALF])]
    transforms = {"resize": (80, 60), "pad": (90, 60), "center_crop": (70, 60), "grid_crop": {"size": (35, 60)}}
    output, outputs = export(tmp_path, monkeypatch, samples, transforms=transforms)
    assert outputs.facts["images"] == 2
    for name in ("a__0_0", "a__35_0"):
        image = np.asarray(Image.open(output / f"images/train/{name}.png"))
        drawn = label_map(output, name)
        assert image.shape == (60, 35, 3)
        assert (image[drawn == 1] > 90).all()
        assert (image[drawn != 1] < 110).all()


def test_windows_without_enough_foreground_are_left_out(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", "a.jpg", [LEFT_HALF]), sample_on_disk(tmp_path / "media", "b.jpg")]
    output, outputs = export(
        tmp_path, monkeypatch, samples, transforms={"grid_crop": {"size": (20, 30), "threshold": 2.5}}
    )
    assert [p.name for p in (output / "images/train").iterdir()] == ["a__0_0.png"]
    assert "1 image without a window above the threshold is left out" in outputs.notes


def test_statistics_are_those_of_the_named_split(tmp_path, monkeypatch):
    (tmp_path / "media").mkdir()
    Image.new("RGB", (40, 30), (51, 102, 255)).save(tmp_path / "media" / "a.png")
    samples = [
        sample_on_disk(tmp_path / "media", "a.png"),
        sample_on_disk(tmp_path / "media", "b.png", split="val"),
    ]
    output, outputs = export(tmp_path, monkeypatch, samples, statistics={"channels": "train"})
    found = json.loads((output / "statistics.json").read_text())
    assert np.allclose(found["mean"], [0.2, 0.4, 1.0])
    assert np.allclose(found["std"], 0)
    assert found["pixels"] == 1200
    assert outputs.facts["statistics"] == found


def test_only_the_wanted_splits_are_written(tmp_path, monkeypatch):
    samples = [sample_on_disk(tmp_path / "media", f"{split}.jpg", split=split) for split in ("train", "val", "test")]
    output, outputs = export(tmp_path, monkeypatch, samples, splits=["val", "test"])
    assert sorted(p.name for p in (output / "images").iterdir()) == ["test", "val"]
    assert outputs.facts["splits"] == {"val": 1, "test": 1}
