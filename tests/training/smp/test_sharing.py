"""Images of a step over the processes of a training."""

from __future__ import annotations

import pytest

from specrun.training.smp.sharing import Share, batches_of_rank, share_images


@pytest.mark.parametrize(
    ("images", "accumulate", "most", "processes", "expected"),
    [
        (8, 1, 8, 1, Share(1, 8, 1)),
        (16, 1, 8, 2, Share(2, 8, 1)),  # devices: 2
        (8, 3, 8, 2, Share(2, 4, 3)),  # a second GPU shares the batch
        (16, 1, 8, 1, Share(1, 8, 2)),  # one GPU where two were wanted
        (24, 1, 8, 2, Share(2, 6, 2)),  # two where three were wanted
        (6, 1, 6, 4, Share(3, 2, 1)),  # one of four is left over
        (1, 2, 8, 2, Share(1, 1, 2)),
        (6, 1, 2, 4, Share(3, 2, 1)),
    ],
)
def test_a_step_has_as_many_images_whatever_the_machine_has(
    images: int, accumulate: int, most: int, processes: int, expected: Share
) -> None:
    found = share_images(images, accumulate, most=most, processes=processes)
    assert found == expected
    assert found.images * found.accumulate == images * accumulate


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5, 6, 7, 12, 13])
def test_each_image_counts_once_and_every_rank_takes_every_step(count: int, world: int) -> None:
    ranks = [list(batches_of_rank(count, 2, rank=rank, world=world)) for rank in range(world)]
    seen = [place for batches in ranks for batch, counts in batches if counts for place in batch]
    assert sorted(seen) == list(range(count))
    assert len({len(batches) for batches in ranks}) == 1
    assert all(batch for batches in ranks for batch, _ in batches)


def test_the_images_of_a_step_are_those_of_one_process_with_a_larger_batch() -> None:
    alone = [batch for batch, _ in batches_of_rank(11, 4, rank=0, world=1)]
    shared = zip(*(batches_of_rank(11, 2, rank=rank, world=2) for rank in (0, 1)), strict=True)
    assert [sorted(place for batch, counts in step if counts for place in batch) for step in shared] == alone
