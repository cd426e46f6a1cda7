import os

import pytest
from PIL import Image

from specrun.errors import FormatError
from specrun.kinds.exports.folder import ExportFolder
from specrun.model.artifact import Outputs
from specrun.model.digest import bytes_digest, file_digest
from tests.support.context import make_context
from tests.support.fake_dataset import publish, sample_on_disk


def context(tmp_path, **overrides):
    return make_context(tmp_path, "exports.out", **overrides)


def finish(ctx, folder):
    folder.finish()
    return publish(ctx, Outputs(known_digests=folder.digests))


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 40)).save(path, exif=exif)


def test_links_are_relative_inside_the_project_and_lead_to_the_image_once_published(tmp_path):
    ctx = context(tmp_path)
    folder = ExportFolder(ctx)
    sample = sample_on_disk(tmp_path / "media", "a.jpg")
    assert folder.place_image("images/train/a", sample) == "images/train/a.jpg"
    link = finish(ctx, folder) / "images/train/a.jpg"
    assert not os.path.isabs(os.readlink(link))
    assert link.resolve() == sample.media


def test_links_to_media_outside_the_project_are_absolute(tmp_path):
    ctx = context(tmp_path / "project")
    folder = ExportFolder(ctx)
    sample = sample_on_disk(tmp_path / "elsewhere", "a.jpg")
    folder.place_image("images/a", sample)
    assert os.readlink(ctx.staging / "images/a.jpg") == str(sample.media)


def test_links_are_absolute_when_the_output_is_really_elsewhere(tmp_path):
    project, disk = tmp_path / "project", tmp_path / "disk"
    project.mkdir()
    disk.mkdir()
    (project / "outputs").symlink_to(disk)
    ctx = context(project)
    folder = ExportFolder(ctx)
    sample = sample_on_disk(project / "media", "a.jpg")
    folder.place_image("images/a", sample)
    assert (finish(ctx, folder) / "images/a.jpg").resolve() == sample.media


def test_every_file_has_its_digest(tmp_path):
    ctx = context(tmp_path)
    folder = ExportFolder(ctx)
    folder.write("labels/a.txt", b"0 1\n")
    folder.place_image("images/a", sample_on_disk(tmp_path / "media", "a.jpg"))
    turned(tmp_path / "media" / "b.jpg")
    folder.place_image("images/b", sample_on_disk(tmp_path / "media", "b.jpg"))
    output = finish(ctx, folder)
    paths = {p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file()} - {"manifest.json"}
    assert paths == {"labels/a.txt", "images/a.jpg", "images/b.png", "conversions.json"}
    assert {path: file_digest(output / path) for path in paths} == folder.digests


def test_copies_stand_alone(tmp_path):
    ctx = context(tmp_path)
    folder = ExportFolder(ctx, copy_media=True)
    sample = sample_on_disk(tmp_path / "media", "a.jpg")
    folder.place_image("images/a", sample)
    output = finish(ctx, folder)
    sample.media.unlink()
    assert file_digest(output / "images/a.jpg") == sample.digest


def test_a_missing_image_is_an_error_that_names_the_file(tmp_path):
    sample = sample_on_disk(tmp_path / "media", "a.jpg")
    sample.media.unlink()
    with pytest.raises(FormatError, match=r"a\.jpg: the image of a\.jpg cannot be read"):
        ExportFolder(context(tmp_path)).place_image("images/a", sample)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_an_image_without_its_second_half_is_an_error_that_says_what_to_do(tmp_path, name):
    path = tmp_path / "media" / name
    path.parent.mkdir()
    Image.effect_noise((60, 60), 90).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sample = sample_on_disk(tmp_path / "media", name, size_wh=(60, 60))
    with pytest.raises(FormatError, match=rf"{name}: not a readable image") as raised:
        ExportFolder(context(tmp_path)).place_image("images/a", sample)
    assert raised.value.hint == "Replace the file by a whole one and apply again; images without a file are left out."


def again(tmp_path, build):
    """Export, publish, export again with the first as the previous output; returns both folders."""
    first = context(tmp_path)
    folder = ExportFolder(first)
    build(folder)
    output = finish(first, folder)
    second = context(tmp_path, previous=output)
    following = ExportFolder(second)
    return output, second.staging, following


def test_an_unchanged_file_is_taken_over_by_a_hard_link(tmp_path):
    before, staging, folder = again(tmp_path, lambda f: (f.write("a.txt", b"same"), f.write("b.txt", b"old")))
    folder.write("a.txt", b"same")
    folder.write("b.txt", b"new")
    assert (staging / "a.txt").samefile(before / "a.txt")
    assert (staging / "b.txt").read_bytes() == b"new"
    assert (before / "b.txt").read_bytes() == b"old"
    assert folder.digests == {"a.txt": bytes_digest(b"same"), "b.txt": bytes_digest(b"new")}


def test_a_file_that_somebody_edited_in_the_output_is_written_anew(tmp_path):
    before, staging, folder = again(tmp_path, lambda f: f.write("a.txt", b"same"))
    (before / "a.txt").write_bytes(b"evil")
    os.utime(before / "a.txt", ns=(2**62, 2**62))
    folder.write("a.txt", b"same")
    assert (staging / "a.txt").read_bytes() == b"same"


def test_a_converted_image_is_not_converted_again(tmp_path):
    turned(tmp_path / "media" / "b.jpg")
    sample = sample_on_disk(tmp_path / "media", "b.jpg")
    before, staging, folder = again(tmp_path, lambda f: f.place_image("images/b", sample))
    assert folder.place_image("images/b", sample) == "images/b.png"
    assert (staging / "images/b.png").samefile(before / "images/b.png")
    assert folder.digests["images/b.png"] == file_digest(before / "images/b.png")
    assert folder.tally.notes() == ("1 image was written as upright RGB PNG because of EXIF orientation",)


def test_an_image_that_has_gone_is_not_linked_because_it_was_there_last_time(tmp_path):
    sample = sample_on_disk(tmp_path / "media", "a.jpg")
    _, staging, folder = again(tmp_path, lambda f: f.place_image("images/a", sample))
    sample.media.unlink()
    with pytest.raises(FormatError, match=r"a\.jpg: the image of a\.jpg cannot be read"):
        folder.place_image("images/a", sample)
    assert list(staging.rglob("*.jpg")) == []


def test_an_image_with_new_content_is_looked_at_again(tmp_path):
    sample = sample_on_disk(tmp_path / "media", "b.jpg")
    _, staging, folder = again(tmp_path, lambda f: f.place_image("images/b", sample))
    turned(tmp_path / "media" / "b.jpg")
    folder.place_image("images/b", sample_on_disk(tmp_path / "media", "b.jpg"))
    assert (staging / "images/b.png").exists()


def test_an_interrupted_export_starts_anew(tmp_path):
    ctx = context(tmp_path)
    (ctx.staging / "labels").mkdir()
    (ctx.staging / "labels" / "half.txt").write_text("0 1")
    ExportFolder(ctx)
    assert list(ctx.staging.iterdir()) == []


def test_one_suffix_for_all(tmp_path):
    folder = ExportFolder(context(tmp_path))
    for name in ("a.jpg", "b.png"):
        folder.place_image(f"images/{name[0]}", sample_on_disk(tmp_path / "media", name))
    assert folder.unify_suffixes("images") == ".png"
    assert sorted(folder.digests) == ["images/a.png", "images/b.png"]
    assert sorted(p.name for p in (folder.staging / "images").iterdir()) == ["a.png", "b.png"]
