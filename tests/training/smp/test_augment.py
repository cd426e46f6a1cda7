from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from specrun.training.smp.augment import Augment, mix_batch  # noqa: E402
from specrun.training.smp.data import IGNORED, ShuffledBatches, generator  # noqa: E402
from specrun.training.smp.settings import AugmentSpec  # noqa: E402


def _square():  # type: ignore[no-untyped-def]
    mask = torch.zeros((64, 64), dtype=torch.uint8)
    mask[8:24, 30:50] = 1
    image = (mask * 200).expand(3, 64, 64).clone()
    return image, mask


@pytest.mark.parametrize(
    "spec",
    [
        {"flip": 1.0},
        {"flip": 0.0, "flip_vertical": 1.0},
        {"rotate": 40.0},
        {"scale": [0.6, 1.6]},
        {"crop": [0.5, 0.9]},
        {"rotate": 90.0, "scale": [0.5, 2.0], "crop": [0.6, 1.0], "flip": 0.5, "flip_vertical": 0.5},
    ],
)
def test_image_and_mask_move_together(spec: dict[str, object]) -> None:
    image, mask = _square()
    for number in range(8):
        changed, labels = Augment(AugmentSpec(**spec))(image, mask, generator(number))
        assert changed.shape == image.shape
        assert labels.shape == mask.shape
        known = labels != IGNORED
        agree = (changed[0] > 100)[known] == (labels == 1)[known]
        assert float(agree.float().mean()) > 0.96, (spec, number)
        assert set(labels.unique().tolist()) <= {0, 1, IGNORED}


def test_colors_leave_the_mask_alone() -> None:
    image, mask = _square()
    spec = AugmentSpec(flip=0.0, color_jitter=0.5, blur=1.0, noise=0.2)
    changed, labels = Augment(spec)(image, mask, generator(1))
    assert torch.equal(labels, mask)
    assert not torch.equal(changed, image)
    assert changed.dtype == torch.uint8


def test_equal_numbers_give_equal_images_and_others_give_others() -> None:
    image, mask = _square()
    change = Augment(AugmentSpec(rotate=30, color_jitter=0.3, noise=0.1))
    one, other, third = (change(image, mask, generator(0, 5, n))[0] for n in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_cutmix_moves_pixels_with_their_labels() -> None:
    images = torch.stack([torch.full((3, 16, 16), float(n)) for n in range(4)])
    labels = torch.stack([torch.full((16, 16), n, dtype=torch.uint8) for n in range(4)])
    mixed = mix_batch(images, labels, AugmentSpec(cutmix=1.0), generator(3), generator(0))
    assert torch.equal(mixed.images[:, 0], mixed.labels.float())
    assert not torch.equal(mixed.labels, labels)
    assert mixed.other is None


def test_mixup_blends_images_as_much_as_it_blends_losses() -> None:
    images = torch.stack([torch.full((3, 4, 4), float(n)) for n in range(4)])
    labels = torch.stack([torch.full((4, 4), n, dtype=torch.uint8) for n in range(4)])
    mixed = mix_batch(images, labels, AugmentSpec(mixup=1.0), generator(0), generator(1))
    assert mixed.other is not None
    assert 0.5 <= mixed.share <= 1
    expected = mixed.share * labels.float() + (1 - mixed.share) * mixed.other.float()
    assert torch.allclose(mixed.images[:, 0], expected)


def test_every_image_is_seen_once_an_epoch_in_an_order_that_seed_and_epoch_decide() -> None:
    batches = ShuffledBatches(10, 4, seed=1)
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(index for batch in first for _, index in batch) == list(range(10))
    assert [i for batch in first for _, i in batch] != [i for batch in second for _, i in batch]
    assert first == list(ShuffledBatches(10, 4, seed=1))


def test_after_an_interruption_the_rest_of_the_epoch_follows_once() -> None:
    whole = list(ShuffledBatches(10, 4, seed=1))
    batches = ShuffledBatches(10, 4, seed=1)
    batches.start = 4
    assert list(batches) == whole[1:]
    assert list(batches) == whole


def test_processes_share_an_epoch_and_what_is_shown_twice_counts_once() -> None:
    parts = [list(ShuffledBatches(9, 2, seed=1, rank=rank, world=2)) for rank in (0, 1)]
    assert [len(part) for part in parts] == [3, 3]
    indices = [index for part in parts for batch in part for _, index in batch]
    assert sorted(index for index in indices if index >= 0) == list(range(9))
    assert [~index for index in indices if index < 0] == [parts[0][2][0][1]]
    assert [ShuffledBatches(9, 2, seed=1, world=2).images(number) for number in range(3)] == [4, 4, 1]


def test_processes_draw_the_same_share_of_mixup_and_a_batch_of_one_is_mixed_with_itself() -> None:
    images, labels = torch.rand((3, 3, 4, 4)), torch.zeros((3, 4, 4), dtype=torch.uint8)
    spec = AugmentSpec(mixup=0.5, cutmix=0.5)
    for epoch in range(20):
        many = mix_batch(images, labels, spec, generator(epoch, 1), generator(epoch))
        one = mix_batch(images[:1], labels[:1], spec, generator(epoch, 2), generator(epoch))
        assert (many.other is None) == (one.other is None)
        assert many.share == one.share
        assert torch.allclose(one.images, images[:1])
