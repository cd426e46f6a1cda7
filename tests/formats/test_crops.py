import numpy as np

from specrun.formats.channel_sums import ChannelSums
from specrun.formats.crops import Grid, Pair, center_crop, fit, grid_crops, pad, resize
from specrun.formats.masks_write import class_indices

INDICES = class_indices(["a"], 0, 255)


def pair(width, height):
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[: height // 2] = 1
    return Pair(np.repeat(labels[:, :, None] * 100, 3, axis=2), labels)


def test_resizing_keeps_class_values():
    small = resize(pair(8, 8), (4, 6))
    assert small.labels.shape == (6, 4)
    assert set(np.unique(small.labels)) == {0, 1}


def test_the_longer_side_gives_the_size():
    assert fit((4000, 3000), 1000) == (1000, 750)
    assert fit((1, 3000), 10) == (1, 10)


def test_padding_is_black_and_ignored():
    padded = pad(pair(4, 4), (6, 4), 255)
    assert padded.labels.shape == (4, 6)
    assert (padded.labels[:, 4:] == 255).all()
    assert not padded.image[:, 4:].any()
    assert pad(pair(4, 4), (2, 2), 255).labels.shape == (4, 4)


def test_the_centre_is_cut_out():
    assert (center_crop(pair(8, 6), (4, 4)).left, center_crop(pair(8, 6), (4, 4)).top) == (2, 1)
    assert center_crop(pair(8, 6), (20, 2)).labels.shape == (2, 8)


def test_windows_cover_every_pixel_and_end_with_the_image():
    windows = list(grid_crops(pair(10, 4), Grid((4, 4), (4, 4)), INDICES))
    assert [(w.left, w.top) for w in windows] == [(0, 0), (4, 0), (6, 0)]


def test_windows_with_too_little_foreground_are_left_out():
    kept = list(grid_crops(pair(4, 8), Grid((4, 4), (4, 4), threshold=2.5), INDICES))
    assert [(w.left, w.top) for w in kept] == [(0, 0)]


def test_a_small_image_is_padded_to_one_window():
    (window,) = grid_crops(pair(4, 4), Grid((6, 6), (6, 6)), INDICES)
    assert window.labels.shape == (6, 6)


def test_statistics_are_exact():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    sums = ChannelSums()
    for image in images:
        sums.add(image)
    found = sums.to_json()
    pixels = images.reshape(-1, 3) / 255
    assert np.allclose(found["mean"], pixels.mean(axis=0))
    assert np.allclose(found["std"], pixels.std(axis=0))
    assert found["pixels"] == 105
