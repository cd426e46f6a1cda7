"""Windows of TIFFs hold the pixels of the image, and only what they touch is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from specrun.formats.images import read_upright_rgb
from specrun.formats.tiff_windows import tiff_windows

_PLACES = [(0, 0, 70, 50), (13, 7, 20, 30), (69, 49, 1, 1), (0, 48, 70, 2)]


def _pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)


def _check(path: Path) -> None:
    whole = read_upright_rgb(path)
    with tiff_windows(path) as tiff:
        assert tiff is not None
        assert tiff.size_wh == (70, 50)
        for left, top, width, height in _PLACES:
            expected = whole[top : top + height, left : left + width]
            assert tiff.read(left, top, width, height).tolist() == expected.tolist()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
@pytest.mark.parametrize("shape", [(50, 70, 3), (50, 70), (50, 70, 4)])
def test_strips_of_every_lossless_compression(tmp_path: Path, compression: str | None, shape: tuple[int, ...]) -> None:
    Image.fromarray(_pixels(*shape)).save(tmp_path / "a.tif", compression=compression, tiffinfo={278: 16})
    _check(tmp_path / "a.tif")


def test_jpeg_strips(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 50 * 70 * 3).astype(np.uint8).reshape(50, 70, 3)
    Image.fromarray(smooth).save(tmp_path / "a.tif", compression="jpeg", quality=90, tiffinfo={278: 16})
    _check(tmp_path / "a.tif")


@pytest.mark.parametrize("predictor", [None, 2])
def test_tiles(tmp_path: Path, predictor: int | None) -> None:
    tifffile = pytest.importorskip("tifffile")
    compression = {} if predictor is None else {"compression": "zlib", "predictor": predictor}
    tifffile.imwrite(tmp_path / "a.tif", _pixels(50, 70, 3), tile=(32, 16), photometric="rgb", **compression)
    _check(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(np.zeros((5, 6), dtype=np.uint16)), Image.new("P", (6, 5)), Image.new("CMYK", (6, 5))],
)
def test_what_it_cannot_read_in_windows_is_left_to_a_whole_read(tmp_path: Path, image: Image.Image) -> None:
    image.save(tmp_path / "a.tif")
    with tiff_windows(tmp_path / "a.tif") as tiff:
        assert tiff is None


def test_a_turned_image_is_left_to_a_whole_read(tmp_path: Path) -> None:
    Image.fromarray(_pixels(5, 6, 3)).save(tmp_path / "a.tif", tiffinfo={274: 6})
    with tiff_windows(tmp_path / "a.tif") as tiff:
        assert tiff is None


def test_damage_elsewhere_does_not_matter(tmp_path: Path) -> None:
    """Only the touched strip is read: the last one is cut off from the file."""
    path = tmp_path / "a.tif"
    Image.fromarray(_pixels(50, 70, 3)).save(path, compression="tiff_adobe_deflate", tiffinfo={278: 10})
    whole = read_upright_rgb(path)
    with Image.open(path) as image:
        last = image.tag_v2[273][-1]  # type: ignore[attr-defined]
    content = bytearray(path.read_bytes())
    content[last : last + 20] = bytes(20)
    path.write_bytes(content)
    with tiff_windows(path) as tiff:
        assert tiff is not None
        assert tiff.read(3, 4, 20, 30).tolist() == whole[4:34, 3:23].tolist()
        with pytest.raises(OSError, match=r"decod|read|trunc|broken"):
            tiff.read(0, 45, 10, 5)
