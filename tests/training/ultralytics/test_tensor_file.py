"""A training's state as it comes back from its file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from specrun.training.ultralytics.tensor_file import read_state, write_state


def _state(torch: Any, size: int) -> dict[str, Any]:
    channels_last = torch.randn(2, 3, size, size).to(memory_format=torch.channels_last)
    return {
        "model": {"weight": channels_last, "count": torch.tensor(7), "empty": torch.empty(0, 3)},
        "half": torch.randn(size).to(torch.bfloat16),
        "mask": torch.rand(size) > 0.5,
        "rows": torch.randn(size, 4)[:, ::2],
        "parameter": torch.nn.Parameter(torch.randn(size, 1)),
        "random": (random.getstate(), torch.get_rng_state()),
        "order": {"generator": None, "drawn": 3},
    }


def _same(torch: Any, one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return bool(one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(torch, one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(_same(torch, *pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = _state(torch, 9)

    write_state(state, tmp_path / "0.state")
    found = read_state(tmp_path / "0.state")

    assert _same(torch, state, found)
    assert found["model"]["weight"].stride() == state["model"]["weight"].stride()
    found["half"].zero_()  # memory of its own, to be written to


@pytest.mark.parametrize("before", [3, 40])
def test_a_longer_and_a_shorter_file_are_written_over(tmp_path: Path, before: int) -> None:
    torch = pytest.importorskip("torch")
    place, state = tmp_path / "next.part", _state(torch, 12)
    write_state(_state(torch, before), place)

    write_state(state, place)

    assert _same(torch, state, read_state(place))


@pytest.mark.parametrize("kept", [0, 10, 100, -100, -1])
def test_a_file_that_was_cut_off_is_no_state(tmp_path: Path, kept: int) -> None:
    torch = pytest.importorskip("torch")
    place = tmp_path / "0.state"
    write_state(_state(torch, 12), place)
    place.write_bytes(place.read_bytes()[:kept])

    with pytest.raises(ValueError, match="not whole"):
        read_state(place)
