"""Run-length masks: COCO's two forms and CVAT's, each to and from a bitmap.

All forms are lists of run lengths that alternate between background and foreground and start with
background (0 when the first pixel is foreground). They differ in the order of the pixels: COCO goes
down the columns, CVAT along the rows. COCO's compressed form packs the column-wise counts into ASCII.
Sources: `maskApi.c` of the COCO API for the compressed form, CVAT's documentation of its mask format.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from specrun.errors import FormatError
from specrun.model.labels import Bitmap

_Counts = NDArray[np.int64]
_BITS = 5
_MORE = 0x20
_SIGN = 0x10
_FIRST_CHARACTER = 48
_LONGEST_NUMBER = 13


def bitmap_to_rle(bitmap: Bitmap) -> list[int]:
    """COCO's uncompressed counts: column by column, background first."""
    return _run_lengths(np.asarray(bitmap, dtype=bool).ravel(order="F"))


def rle_to_bitmap(counts: Sequence[int], size_wh: tuple[int, int]) -> Bitmap:
    """Raises FormatError: the counts are negative or do not fill the size."""
    width, height = size_wh
    return np.ascontiguousarray(_pixels(counts, size_wh).reshape((height, width), order="F"))


def bitmap_to_cvat_rle(bitmap: Bitmap) -> list[int]:
    """CVAT's counts: row by row, background first. CVAT adds the place of the bitmap itself."""
    return _run_lengths(np.asarray(bitmap, dtype=bool).ravel())


def cvat_rle_to_bitmap(counts: Sequence[int], size_wh: tuple[int, int]) -> Bitmap:
    """size_wh: of the mask's own rectangle, which lies at its `left`, `top`.

    Raises FormatError: the counts are negative or do not fill the size.
    """
    width, height = size_wh
    return _pixels(counts, size_wh).reshape((height, width))


def counts_to_string(counts: Sequence[int]) -> str:
    """COCO's compressed counts: from the fourth on as differences to the count two before, in groups of
    five bits, lowest first, with a continuation bit, shifted into printable ASCII."""
    values = np.asarray(counts, dtype=np.int64)
    if not values.size:
        return ""
    numbers = values.copy()
    numbers[3:] -= values[1:-2]
    groups = _groups_needed(numbers)
    columns = np.arange(int(groups.max()))
    digits = (numbers[:, None] >> (_BITS * columns)) & (_MORE - 1)
    digits |= np.where(columns < groups[:, None] - 1, _MORE, 0)
    used = columns < groups[:, None]
    return (digits[used] + _FIRST_CHARACTER).astype(np.uint8).tobytes().decode("ascii")


def string_to_counts(text: str | bytes) -> list[int]:
    """The counts behind COCO's compressed form; raises FormatError: characters that it cannot hold."""
    # Latin-1 keeps one byte a character; what is not ASCII then fails the range check.
    raw = text.encode("latin-1", "replace") if isinstance(text, str) else text
    codes = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - _FIRST_CHARACTER
    if not codes.size:
        return []
    more = (codes & _MORE) != 0
    if codes.min() < 0 or codes.max() >= 2 * _MORE or more[-1]:
        raise FormatError(
            "a compressed run-length mask is damaged: it holds characters that do not belong or is cut off"
        )
    ends = np.flatnonzero(~more)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_NUMBER:
        raise FormatError("a compressed run-length mask is damaged: a count is longer than 64 bits")
    shifts = _BITS * (np.arange(codes.size) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((codes & (_MORE - 1)) << shifts, starts)
    numbers -= np.where(codes[ends] & _SIGN, np.int64(1) << np.minimum(_BITS * lengths, 62), 0)
    return _undo_differences(numbers)


def _groups_needed(numbers: _Counts) -> _Counts:
    """How many groups of five bits each signed number takes, its sign bit included."""
    magnitudes = np.where(numbers < 0, ~numbers, numbers)
    groups = np.ones(numbers.shape, dtype=np.int64)
    largest = int(magnitudes.max(initial=0))
    for group in range(1, _LONGEST_NUMBER):
        least = 1 << (_BITS * group - 1)
        if largest < least:
            break
        groups += magnitudes >= least
    return groups


def _undo_differences(numbers: _Counts) -> list[int]:
    counts = numbers.copy()
    counts[1::2] = np.cumsum(numbers[1::2])
    counts[2::2] = np.cumsum(numbers[2::2])
    result: list[int] = counts.tolist()
    return result


def _run_lengths(pixels: NDArray[np.bool_]) -> list[int]:
    if not pixels.size:
        return []
    borders = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate(([0], borders, [pixels.size]))).tolist()
    return [0, *runs] if pixels[0] else runs


def _pixels(counts: Sequence[int], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    runs = np.asarray(counts, dtype=np.int64)
    expected = size_wh[0] * size_wh[1]
    total = int(runs.sum())
    if runs.size and runs.min() < 0:
        raise FormatError("a run-length mask is damaged: it has a negative count")
    if total != expected:
        size = f"{size_wh[0]}x{size_wh[1]}"
        raise FormatError(f"a run-length mask is damaged: it fills {total} pixels, its size {size} has {expected}")
    return np.repeat(np.arange(runs.size) % 2 == 1, runs)
