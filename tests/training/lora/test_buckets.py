from __future__ import annotations

import random
from collections import Counter

import pytest

from specrun.training.lora.buckets import batches_an_epoch, bucket_sizes, epoch_batches, fit


def test_sizes_have_whole_steps_and_no_more_area_than_the_resolution() -> None:
    sizes = bucket_sizes((1024, 1024), 64)
    assert (1024, 1024) in sizes
    assert (1536, 640) in sizes
    assert all(width % 64 == 0 and height % 64 == 0 and width * height <= 1024**2 for width, height in sizes)


@pytest.mark.parametrize("seed", range(20))
def test_no_picture_is_enlarged(seed: int) -> None:
    order = random.Random(seed)
    size = (order.randint(64, 4000), order.randint(64, 4000))
    found = fit(size, (1024, 1024), 64)
    assert found is not None
    assert found.resize_wh[0] <= size[0]
    assert found.resize_wh[1] <= size[1]
    assert found.size_wh[0] <= found.resize_wh[0]
    assert found.size_wh[1] <= found.resize_wh[1]
    assert found.size_wh[0] * found.size_wh[1] <= 1024**2


def test_a_large_picture_keeps_nearly_its_shape() -> None:
    found = fit((3000, 2000), (1024, 1024), 64)
    assert found is not None
    assert found.size_wh == (1216, 832)


def test_a_small_picture_gets_a_bucket_of_its_own_size() -> None:
    found = fit((500, 300), (1024, 1024), 64)
    assert found is not None
    assert found.size_wh == (448, 256)


def test_a_side_below_one_step_fits_nowhere() -> None:
    assert fit((1000, 60), (1024, 1024), 64) is None


def test_without_buckets_every_picture_gets_the_resolution() -> None:
    found = fit((100, 300), (512, 512), 64, bucketing=False)
    assert found is not None
    assert (found.size_wh, found.resize_wh) == ((512, 512), (512, 1536))


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_every_picture_once_an_epoch_in_batches_of_one_size(batch: int) -> None:
    sizes = [random.Random(i).choice([(64, 64), (128, 64), (64, 128)]) for i in range(50)]
    orders = []
    for epoch in range(3):
        batches = epoch_batches(sizes, batch, 7, epoch)
        assert len(batches) == batches_an_epoch(sizes, batch)
        assert Counter(index for one in batches for index in one) == Counter(range(50))
        assert all(len({sizes[index] for index in one}) == 1 and len(one) <= batch for one in batches)
        orders.append(batches)
    assert orders[0] != orders[1]
    assert orders[0] == epoch_batches(sizes, batch, 7, 0)
