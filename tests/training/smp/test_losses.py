from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")

from specrun.training.smp.losses import SumOfLosses, loss_terms  # noqa: E402
from specrun.training.smp.settings import LossSpec  # noqa: E402

_IGNORED = 255


def _sum(loss: object, *, activation: str = "softmax", weights: list[float] | None = None, channels: int = 3):  # type: ignore[no-untyped-def]
    return SumOfLosses(loss_terms(loss), activation, _IGNORED, weights, channels)  # type: ignore[arg-type]


@pytest.fixture
def batch():  # type: ignore[no-untyped-def]
    random = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 8, 8), generator=random)
    target = torch.randint(0, 3, (2, 8, 8), generator=random)
    target[:, :2] = _IGNORED
    return logits, target


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "focal", "lovasz"])
def test_multiclass_losses_equal_those_of_the_library(batch, name: str) -> None:  # type: ignore[no-untyped-def]
    from segmentation_models_pytorch import losses

    logits, target = batch
    theirs = {
        "dice": lambda: losses.DiceLoss("multiclass", ignore_index=_IGNORED)(logits, target),
        "jaccard": lambda: losses.JaccardLoss("multiclass")(logits, target),
        "tversky": lambda: losses.TverskyLoss("multiclass", ignore_index=_IGNORED, alpha=0.3, beta=0.7)(logits, target),
        "focal": lambda: losses.FocalLoss("multiclass", ignore_index=_IGNORED)(logits, target),
        "lovasz": lambda: losses.LovaszLoss("multiclass", ignore_index=_IGNORED)(logits, target),
    }
    if name == "jaccard":  # the library's has no ignored pixels
        target = target.clamp(max=2)
    spec = LossSpec(name="tversky", alpha=0.3, beta=0.7) if name == "tversky" else name
    assert float(_sum(spec)(logits, target)) == pytest.approx(float(theirs[name]()), abs=1e-5)


def test_cross_entropy_is_torch_s_with_weights_and_ignored_pixels(batch) -> None:  # type: ignore[no-untyped-def]
    logits, target = batch
    weights = [0.5, 1.0, 2.0]
    expected = torch.nn.functional.cross_entropy(logits, target, weight=torch.tensor(weights), ignore_index=_IGNORED)
    assert float(_sum("cross_entropy", weights=weights)(logits, target)) == pytest.approx(float(expected), abs=1e-6)


def test_a_sum_is_the_weighted_sum_of_its_terms(batch) -> None:  # type: ignore[no-untyped-def]
    logits, target = batch
    dice, entropy = (float(_sum(name)(logits, target)) for name in ("dice", "cross_entropy"))
    assert float(_sum("dice_ce")(logits, target)) == pytest.approx(dice + entropy, abs=1e-6)
    listed = ["dice", LossSpec(name="cross_entropy", weight=3)]
    assert float(_sum(listed)(logits, target)) == pytest.approx(dice + 3 * entropy, abs=1e-5)


def test_binary_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[[[2.0, -1.0, 5.0]]]])
    target = torch.tensor([[[0, -1, _IGNORED]]])  # the class, the background, ignored
    expected = (torch.log1p(torch.exp(torch.tensor(-2.0))) + torch.log1p(torch.exp(torch.tensor(-1.0)))) / 2
    found = _sum("cross_entropy", activation="sigmoid", channels=1)(logits, target)
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", ["dice", "cross_entropy", "focal", "lovasz", "tversky", "jaccard", "dice_ce"])
def test_a_batch_of_ignored_pixels_costs_nothing(name: str, activation: str) -> None:
    logits = torch.randn((1, 3, 4, 4), requires_grad=True)
    loss = _sum(name, activation=activation)(logits, torch.full((1, 4, 4), _IGNORED))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", ["dice", "cross_entropy", "focal", "lovasz", "tversky", "jaccard"])
def test_a_certain_right_answer_costs_almost_nothing_and_a_wrong_one_much(name: str, activation: str) -> None:
    target = torch.tensor([[[0, 1], [2, 0]]])
    hot = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    right, wrong = (hot * 40 - 20), ((1 - hot) * 40 - 20)
    loss = _sum(name, activation=activation)
    assert float(loss(right, target)) < 1e-3
    assert float(loss(wrong, target)) > 0.5
