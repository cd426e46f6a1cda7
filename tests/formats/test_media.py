import io

import numpy as np
import pytest
from PIL import Image

from specrun.formats.media import Reason, exif_orientation, linked_suffix, reason_to_convert, upright_png


def save(path, image, **options):
    image.save(path, **options)
    return path


def gradient(mode="RGB", size=(20, 12)):
    return Image.fromarray(np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)).convert(mode)


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_images_are_read_as_they_are(tmp_path, name, mode):
    assert reason_to_convert(save(tmp_path / name, gradient(mode))) is None


@pytest.mark.parametrize("value", range(2, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_turned_image_is_converted_and_an_upright_one_is_not(tmp_path, name, value):
    assert reason_to_convert(save(tmp_path / name, gradient(), exif=oriented(value))) is Reason.ORIENTATION
    assert reason_to_convert(save(tmp_path / name, gradient(), exif=oriented(1))) is None


def test_exif_behind_a_large_block_is_found(tmp_path):
    path = save(tmp_path / "a.jpg", gradient(), exif=oriented(6), icc_profile=b"x" * 60000)
    assert reason_to_convert(path) is Reason.ORIENTATION


def test_a_large_exif_block_before_the_frame_is_walked_over(tmp_path):
    exif = oriented(1)
    exif[0x9286] = b"y" * 50000
    assert reason_to_convert(save(tmp_path / "a.jpg", gradient("CMYK"), exif=exif)) is Reason.CMYK


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("a.jpg", gradient("CMYK"), Reason.CMYK),
        ("a.png", Image.fromarray(np.full((4, 5), 40000, dtype=np.uint16)), Reason.DEPTH),
        ("a.tif", gradient(), Reason.FORMAT),
        ("a.webp", gradient(), Reason.FORMAT),
        ("a.gif", gradient("P"), Reason.FORMAT),
    ],
)
def test_what_trainers_read_differently_is_converted(tmp_path, name, image, reason):
    assert reason_to_convert(save(tmp_path / name, image)) is reason


def test_a_palette_with_transparency_is_converted_and_one_without_is_not(tmp_path):
    assert reason_to_convert(save(tmp_path / "a.png", gradient("P"), transparency=3)) is Reason.PALETTE
    assert reason_to_convert(save(tmp_path / "b.png", gradient("P"))) is None


def test_a_jpeg_without_its_end_is_copied_because_ultralytics_would_rewrite_it(tmp_path):
    path = save(tmp_path / "a.jpg", gradient())
    path.write_bytes(path.read_bytes() + b"junk")
    assert reason_to_convert(path) is Reason.CUT_OFF


@pytest.mark.parametrize("cut", [1, 12, 20, 400])
def test_a_png_without_its_end_is_noticed(tmp_path, cut):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:-cut])
    assert reason_to_convert(path) is Reason.CUT_OFF_PNG


@pytest.mark.parametrize("cut", [3, 10, 40, 200])
def test_cut_off_headers_are_not_taken_for_plain(tmp_path, cut):
    for name in ("a.jpg", "a.png"):
        path = save(tmp_path / name, gradient(size=(64, 64)))
        path.write_bytes(path.read_bytes()[: min(cut, 40) if name == "a.png" else cut])
        assert reason_to_convert(path) is not None


def test_the_copy_is_upright_rgb(tmp_path):
    path = save(tmp_path / "a.jpg", gradient(), exif=oriented(6))
    image = Image.open(io.BytesIO(upright_png(path)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (12, 20))


def test_broken_exif_means_upright():
    assert exif_orientation(b"") == 1
    assert exif_orientation(b"II*\0\xff\xff\xff\xff" + b"\0" * 20) == 1
    assert exif_orientation(b"XX*\0" + b"\0" * 20) == 1


def test_links_keep_the_usual_suffixes():
    assert linked_suffix("a.JPG") == ".jpg"
    assert linked_suffix("b.jpe") == ".jpg"
