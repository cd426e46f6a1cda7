"""The processes that train one LoRA together, one a GPU.

Each has the whole network and takes its share of the images of a step; gradients are added up before the step, so all
take the same one. DistributedDataParallel was rejected: it wraps one module where the denoiser and text encoders learn,
averages where a step's last batch may be smaller on one rank, and adds up after each batch what is needed once a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import distributed

from specrun.model.artifact import Artifact


class Listener(Protocol):
    """Who is told of a training, and may stop it; a Context is one."""

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None: ...
    def metric(self, name: str, step: float, value: float) -> None: ...
    def log(self, text: str) -> None: ...
    def artifact(self, artifact: Artifact) -> None: ...
    def stop_requested(self) -> bool: ...
    def check_stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Crew:
    """rank 0 leads: it saves, paints and reports. Alone, nothing is exchanged."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, things: Sequence[int]) -> tuple[int, int]:
        """Where this rank's part of the things begins and ends; parts differ by one at most."""
        size, more = divmod(len(things), self.count)
        begin = self.rank * size + min(self.rank, more)
        return begin, begin + size + (self.rank < more)

    def any(self, said: bool, device: torch.device) -> bool:
        """Whether one of them says so."""
        if self.count == 1:
            return said
        flag = torch.tensor([float(said)], device=device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def wait(self, device: torch.device) -> None:
        """Until all are here."""
        self.any(False, device)

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Each gradient becomes the sum over all. One that nobody has stays away, as it does for one process."""
        if self.count == 1:
            return
        there = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        distributed.all_reduce(there, distributed.ReduceOp.MAX)
        wanted = [p for p, one in zip(parameters, there.tolist(), strict=True) if one]
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in wanted])
        distributed.all_reduce(flat)
        for parameter, gradient in _cut(flat, wanted):
            parameter.grad = gradient

    @torch.no_grad()
    def same(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """All begin with the leader's weights."""
        if self.count == 1:
            return
        flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
        distributed.broadcast(flat, 0)
        for parameter, value in _cut(flat, parameters):
            parameter.copy_(value)


def _cut(
    flat: torch.Tensor, parameters: Sequence[torch.nn.Parameter]
) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
    place = 0
    for parameter in parameters:
        yield parameter, flat[place : place + parameter.numel()].view_as(parameter)
        place += parameter.numel()
