"""Which metric decides, as far as the splits let it be told."""

from __future__ import annotations

from typing import Any

import pytest

from specrun.errors import NodeError
from specrun.training.smp.monitoring import Shown, lower_is_better, watch_what_tells
from specrun.training.smp.settings import SmpTrainSpec

_ALL = ("background", "glossy", "disc")


def _watched(monitor: str, drawn: tuple[str, ...] | None = _ALL, *, validates: bool = True) -> tuple[Any, ...]:
    train = SmpTrainSpec.model_validate({"checkpoints": {"monitor": monitor}, "early_stopping": {"monitor": monitor}})
    found, notes = watch_what_tells(train, Shown(channels=_ALL, drawn=drawn, validates=validates))
    assert found.early_stopping is not None
    assert found.checkpoints.monitor == found.early_stopping.monitor
    return found.checkpoints.monitor, *notes


@pytest.mark.parametrize("monitor", ["val/iou", "val/dice", "val/loss", "train/loss", "val/iou/glossy"])
@pytest.mark.parametrize("drawn", [_ALL, None])
def test_what_can_be_told_is_watched(monitor: str, drawn: tuple[str, ...] | None) -> None:
    assert _watched(monitor, drawn) == (monitor,)


@pytest.mark.parametrize(
    ("monitor", "drawn", "other", "why"),
    [
        ("val/iou", ("background",), "val/loss", "no class occurs in the validation split"),
        ("val/dice", ("background",), "val/loss", "no class occurs in the validation split"),
        ("val/iou/disc", ("background", "glossy"), "val/loss", "disc never occurs in the validation split"),
        ("val/iou", (), "train/loss", "every pixel of the validation split is ignored"),
        ("val/loss", (), "train/loss", "every pixel of the validation split is ignored"),
    ],
)
def test_a_metric_that_no_pixel_tells_gives_way_to_a_loss_and_that_is_said(
    monitor: str, drawn: tuple[str, ...], other: str, why: str
) -> None:
    assert _watched(monitor, drawn) == (
        other,
        f"{why}: the best epoch is the one with the lowest {other}, not {monitor}",
        f"{why}: early stopping watches {other}, not {monitor}",
    )


def test_without_a_validation_split_the_training_loss_is_watched() -> None:
    assert _watched("val/iou", None, validates=False)[0] == "train/loss"


def test_a_class_that_does_not_exist_is_an_error_that_lists_those_that_do() -> None:
    with pytest.raises(
        NodeError, match=r'train\.checkpoints\.monitor: val/iou/glosy: there is no class "glosy"'
    ) as told:
        _watched("val/iou/glosy")
    assert told.value.hint == "There are background, glossy, disc."


def test_only_losses_are_better_when_lower_whatever_classes_are_called() -> None:
    assert [lower_is_better(name) for name in ("val/loss", "train/loss", "val/iou/glossy", "val/iou")] == [
        True, True, False, False,
    ]  # fmt: skip
