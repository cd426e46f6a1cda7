"""Values that the library would refuse once it trains."""

from __future__ import annotations

from typing import Any

import pytest

from specrun.training.ultralytics.arguments import (
    argument_problems,
    installed_arguments,
    installed_folder,
    installed_limits,
)
from specrun.training.ultralytics.values import choices_in, read_limits

needs_release = pytest.mark.skipif(installed_folder() is None, reason="the extra yolo is not installed")


def _problems(train: dict[str, Any]) -> list[str]:
    arguments = installed_arguments()
    assert arguments is not None
    found = argument_problems(train, arguments, installed_limits())
    return [f"{problem.message} {problem.hint or ''}".strip() for problem in found]


@needs_release
@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"epochs": -3}, "epochs must be at least 1, not -3."),
        ({"epochs": 2.5}, "epochs must be int, not float (2.5)."),
        ({"optimizer": "Addam"}, 'optimizer cannot be "Addam". Did you mean "Adam"?'),
        ({"copy_paste_mode": "x"}, 'copy_paste_mode cannot be "x". Write one of flip, mixup.'),
        ({"cache": "rams"}, 'cache cannot be "rams". Did you mean "ram"?'),
        ({"amp": "fp8"}, 'amp cannot be "fp8". Write one of fp16, bf16, fp32.'),
        ({"lr0": 5}, "lr0 must be from 0 to 1, not 5."),
        ({"mosaic": 1.5}, "mosaic must be from 0 to 1, not 1.5."),
        ({"seed": -1}, "seed must be at least 0, not -1."),
        ({"workers": -1}, "workers must be at least 0, not -1."),
        ({"imgsz": 0}, "imgsz must be above 0, not 0."),
        ({"fraction": 0}, "fraction must be above 0 and at most 1, or a count, not 0."),
        ({"scale": [0.5]}, "scale must be one number, or a list of the least and the greatest."),
    ],
)
def test_a_value_that_the_library_refuses_is_refused_before(train: dict[str, Any], message: str) -> None:
    assert _problems(train) == [message]


@needs_release
@pytest.mark.parametrize("batch", [0, -2, 1.5])
def test_a_batch_is_a_count_auto_or_a_share_of_the_memory(batch: float) -> None:
    ((problem),) = _problems({"batch": batch})
    assert problem.startswith("batch must be a whole number from 1, auto, or the share")


@needs_release
@pytest.mark.parametrize(
    "train",
    [
        {"batch": "auto"},
        {"batch": -1},
        {"batch": 0.8},
        {"optimizer": "adamw"},
        {"optimizer": "auto"},
        {"cache": True},
        {"amp": "bf16"},
        {"auto_augment": None},
        {"scale": [0.5, 2.0]},
        {"fraction": 20},
        {"multi_scale": 0.5},
        {"compile": "max-autotune-no-cudagraphs"},
        {"patience": 0},
    ],
)
def test_what_the_library_takes_is_taken(train: dict[str, Any]) -> None:
    assert _problems(train) == []


@needs_release
def test_the_defaults_of_the_release_are_right() -> None:
    folder = installed_folder()
    assert folder is not None
    limits = read_limits(folder / "cfg" / "__init__.py")
    assert {"lr0", "mosaic"} <= limits.fractions
    assert limits.least["epochs"] == 1


def test_choices_stand_behind_a_colon() -> None:
    assert choices_in("copy-paste strategy: flip or mixup") == ("flip", "mixup")
    assert choices_in("optimizer: SGD, Adam, or auto") == ("SGD", "Adam", "auto")
    assert choices_in("dataset split to evaluate") == ()
