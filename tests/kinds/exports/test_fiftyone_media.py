import os

import pytest
from PIL import Image

from specrun.formats.tally import Tally
from specrun.kinds.exports.fiftyone import place_media
from specrun.model.artifact import Outputs
from specrun.model.digest import file_digest
from tests.support.context import make_context
from tests.support.fake_dataset import publish, sample_on_disk


def placed(tmp_path, *, copy):
    """What FiftyOne linked, put into place: the published folder, its digests and the notes."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "media").mkdir()
    Image.new("RGB", (30, 40)).save(tmp_path / "media" / "turned.jpg", exif=exif)
    samples = [sample_on_disk(tmp_path / "media", name) for name in ("plain.jpg", "turned.jpg")]
    ctx = make_context(tmp_path, "exports.out")
    (ctx.staging / "train/data").mkdir(parents=True)
    (ctx.staging / "train/labels.json").write_text("{}")
    for sample in samples:
        (ctx.staging / "train/data" / sample.name).symlink_to(sample.media)
    tally = Tally()
    digests = place_media(ctx, samples, tally, copy=copy)
    return publish(ctx, Outputs(known_digests=digests)), digests, tally.notes()


@pytest.mark.parametrize("copy", [False, True])
def test_turned_images_become_upright_and_are_noted(tmp_path, copy):
    output, digests, notes = placed(tmp_path, copy=copy)
    image = Image.open(output / "train/data/turned.jpg")
    assert (image.size, image.getexif().get(0x0112)) == ((40, 30), None)
    assert digests == {
        f"train/data/{name}": file_digest(output / "train/data" / name) for name in os.listdir(output / "train/data")
    }
    assert notes == ("1 image was written as upright RGB PNG under its old name because of EXIF orientation",)
    assert Image.open(tmp_path / "media" / "turned.jpg").size == (30, 40), "the source stays as it is"


def test_links_are_relative_inside_the_project(tmp_path):
    output, _, _ = placed(tmp_path, copy=False)
    link = output / "train/data/plain.jpg"
    assert not os.path.isabs(os.readlink(link))
    assert link.resolve() == tmp_path / "media" / "plain.jpg"


def test_copies_are_files(tmp_path):
    output, _, _ = placed(tmp_path, copy=True)
    assert not (output / "train/data/plain.jpg").is_symlink()
