from __future__ import annotations

import os
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from specrun.errors import FormatError
from specrun.formats.image_names import image_patterns, is_image, name_key
from specrun.formats.images import MAX_PIXELS, read_indices, read_orientation, read_size, read_upright_rgb
from specrun.store.patterns import compile_patterns
from tests.support.data_sets import write_image


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int) -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    from PIL import ImageOps

    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_upright_rgb(path), expected)
    assert read_size(path) == (expected.shape[1], expected.shape[0])


def test_size_of_a_turned_jpeg_is_that_of_the_upright_image(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.jpg", (8, 6), orientation=6)
    assert read_size(path) == (6, 8)
    assert read_orientation(path) == 6


def test_an_unknown_orientation_means_upright(tmp_path: Path) -> None:
    assert read_size(write_image(tmp_path / "a.jpg", (8, 6), orientation=99)) == (8, 6)


def test_grayscale_is_repeated_over_three_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 200]], dtype=np.uint8))
    assert read_upright_rgb(path).tolist() == [[[0, 0, 0], [200, 200, 200]]]


def test_alpha_is_dropped_and_the_colour_beneath_kept(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[[9, 8, 7, 0]]], dtype=np.uint8))
    assert read_upright_rgb(path).tolist() == [[[9, 8, 7]]]


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (1, 1), 1)
    image.putpalette([0, 0, 0, 5, 6, 7])
    image.save(tmp_path / "a.png")
    assert read_upright_rgb(tmp_path / "a.png").tolist() == [[[5, 6, 7]]]


def test_sixteen_bits_keep_their_high_byte(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 255, 256, 65535]], dtype=np.uint16))
    assert read_upright_rgb(path)[0, :, 0].tolist() == [0, 0, 1, 255]


def test_integers_beyond_sixteen_bits_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.array([[70000]], dtype=np.int32))
    with pytest.raises(FormatError, match=r"a\.tif: pixel values beyond 16 bits"):
        read_upright_rgb(path)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.array([[0.5]], dtype=np.float32))
    with pytest.raises(FormatError, match=r"a\.tif: floating-point"):
        read_upright_rgb(path)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (1, 1), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert read_upright_rgb(tmp_path / "a.tif").tolist() == [[[255, 0, 0]]]


def test_a_one_bit_image_is_black_and_white(tmp_path: Path) -> None:
    Image.new("1", (1, 1), 1).save(tmp_path / "a.png")
    assert read_upright_rgb(tmp_path / "a.png").tolist() == [[[255, 255, 255]]]


def test_a_truncated_body_is_named_when_pixels_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    assert read_size(path) == (64, 64)
    with pytest.raises(FormatError, match=r"a\.jpg: not a readable image"):
        read_upright_rgb(path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.png: not a readable image"):
        read_size(tmp_path / "a.png")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a\.png: no such image"):
        read_size(tmp_path / "a.png")


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (body, idat))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_an_orthomosaic_beyond_pillows_own_guard_has_a_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(20_000, 20_000))
    assert read_size(tmp_path / "a.png") == (20_000, 20_000)


def test_an_image_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(MAX_PIXELS // 1000 + 1, 1000))
    with pytest.raises(FormatError, match=r"a\.png: .* pixels"):
        read_size(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_an_animation_is_refused(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (2, 2), (value, 0, 0)) for value in (0, 255)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(FormatError, match="an animation"):
        read_size(tmp_path / name)


def test_the_first_page_of_a_tiff_is_the_image(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (size, 1), (9, 9, 9)) for size in (3, 1)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert read_size(tmp_path / "a.tif") == (3, 1)
    assert read_upright_rgb(tmp_path / "a.tif").shape == (1, 3, 3)


def test_the_first_picture_of_a_multi_picture_jpeg_is_the_image(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (size, 8)) for size in (16, 8)]
    pictures[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pictures[1:])
    assert read_size(tmp_path / "a.jpg") == (16, 8)


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (3, 2)).rename(tmp_path / "a.jpg")
    assert read_size(tmp_path / "a.jpg") == (3, 2)


def test_unicode_names_are_read_as_they_are_on_disk(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "récif 珊瑚.png")
    path = write_image(tmp_path / decomposed, (3, 2))
    assert read_size(path) == (3, 2)
    assert name_key(decomposed) == "récif 珊瑚.png"


def test_a_name_whose_bytes_are_no_unicode_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.png")
    write_image(tmp_path / "a.png").rename(path)
    with pytest.raises(FormatError, match=r"\.png: the name is not valid Unicode"):
        read_size(path)


def test_control_characters_are_no_part_of_a_key() -> None:
    assert name_key("a\x1b[2J.png") == "a[2J.png"


@pytest.mark.parametrize(
    ("name", "expected"), [("a.JPG", True), ("a.tiff", True), ("a.txt", False), ("jpg", False), ("a.jpg.txt", False)]
)
def test_the_suffix_says_what_is_an_image(name: str, expected: bool) -> None:
    assert is_image(name) is expected
    assert bool(compile_patterns(image_patterns()).fullmatch(f"folder/{name}")) is expected


def test_indices_of_a_palette_mask_are_its_numbers_not_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (1, 1), 3)
    image.putpalette([0, 0, 0] * 3 + [200, 100, 50])
    image.save(tmp_path / "a.png")
    assert read_indices(tmp_path / "a.png").tolist() == [[3]]


def test_indices_of_sixteen_bits_are_kept(tmp_path: Path) -> None:
    assert read_indices(save(tmp_path / "a.png", np.array([[300]], dtype=np.uint16))).tolist() == [[300]]


def test_a_mask_of_three_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="one channel"):
        read_indices(write_image(tmp_path / "a.png"))
