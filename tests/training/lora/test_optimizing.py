from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from specrun.training.lora.optimizing import make_optimizer
from tests.kinds.lora_jobs.test_lora import spec_of

RATES = {"adamw": 1e-2, "adamw8bit": 1e-2, "prodigy": 1.0, "adafactor": 1e-2}


class Line:
    """A linear layer that learns another one, step by step. Large enough for averages in 8 bits."""

    def __init__(self, optimizer: Any) -> None:
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.zeros(128, 64))
        self.seen = torch.randn(256, 64)
        self.wanted = self.seen @ torch.randn(64, 128) * 0.1
        groups = [{"params": [self.weight], "lr": RATES[optimizer]}]
        self.optimizer = make_optimizer(groups, spec_of(optimizer=optimizer, weight_decay=0.0))

    def step(self, times: int) -> float:
        loss = torch.zeros(())
        for _ in range(times):
            self.optimizer.zero_grad()
            loss = ((self.seen @ self.weight.T - self.wanted) ** 2).mean()
            loss.backward()
            self.optimizer.step()
        return loss.item()


@pytest.mark.parametrize("name", RATES)
def test_every_optimizer_learns(name: str) -> None:
    line = Line(name)
    first = line.step(1)
    assert line.step(150) < 0.3 * first


@pytest.mark.parametrize("name", RATES)
def test_every_optimizer_goes_on_from_what_was_saved(name: str) -> None:
    whole = Line(name)
    whole.step(6)
    first, again = Line(name), Line(name)
    first.step(3)
    saved = io.BytesIO()
    torch.save({"weight": first.weight.data, "optimizer": first.optimizer.state_dict()}, saved)
    saved.seek(0)
    content = torch.load(saved, map_location="cpu", weights_only=True)
    again.weight.data = content["weight"]
    again.optimizer.load_state_dict(content["optimizer"])
    again.step(3)
    assert torch.equal(again.weight, whole.weight)


def test_averages_of_adamw8bit_have_8_bits() -> None:
    line = Line("adamw8bit")
    line.step(1)
    state = line.optimizer.state[line.weight]
    assert (state["state1"].dtype, state["state2"].dtype) == (torch.uint8, torch.uint8)
