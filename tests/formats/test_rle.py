import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from specrun.errors import FormatError
from specrun.formats.rle import (
    bitmap_to_cvat_rle,
    bitmap_to_rle,
    counts_to_string,
    cvat_rle_to_bitmap,
    rle_to_bitmap,
    string_to_counts,
)

bitmaps = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def size_of(bitmap):
    return bitmap.shape[1], bitmap.shape[0]


def test_counts_go_down_the_columns_and_start_with_background():
    assert bitmap_to_rle(np.array([[0, 1], [0, 1], [1, 0]], dtype=bool)) == [2, 3, 1]
    assert bitmap_to_rle(np.array([[1, 0]], dtype=bool)) == [0, 1, 1]


def test_cvat_counts_go_along_the_rows():
    assert bitmap_to_cvat_rle(np.array([[0, 1], [0, 1], [1, 0]], dtype=bool)) == [1, 1, 1, 2, 1]


@given(bitmaps)
def test_every_bitmap_survives_all_three_forms(bitmap):
    counts = bitmap_to_rle(bitmap)
    assert (rle_to_bitmap(counts, size_of(bitmap)) == bitmap).all()
    assert string_to_counts(counts_to_string(counts)) == counts
    assert (cvat_rle_to_bitmap(bitmap_to_cvat_rle(bitmap), size_of(bitmap)) == bitmap).all()


@given(bitmaps)
def test_compressed_counts_are_those_of_pycocotools(bitmap):
    encoded = coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    assert counts_to_string(bitmap_to_rle(bitmap)) == encoded["counts"].decode()
    assert string_to_counts(encoded["counts"]) == bitmap_to_rle(bitmap)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=40))
def test_long_runs_survive_compression(counts):
    assert string_to_counts(counts_to_string(counts)) == counts


@pytest.mark.parametrize("counts", [[3], [1, 2, 4], [-1, 7], []])
def test_counts_that_do_not_fill_the_size_are_refused(counts):
    with pytest.raises(FormatError, match="damaged"):
        rle_to_bitmap(counts, (3, 2))


@pytest.mark.parametrize("text", ["P", "0 1", "é", "0" + "P" * 20 + "0"])
def test_damaged_strings_are_refused(text):
    with pytest.raises(FormatError, match="damaged"):
        string_to_counts(text)


def test_no_counts_are_an_empty_string():
    assert counts_to_string([]) == ""
    assert string_to_counts("") == []
