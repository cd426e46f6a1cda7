"""Order, cycles, closures and matrix expansion. Knows addresses and nothing of the domain."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from specrun.model.address import Address

Value = TypeVar("Value")
Needs = Mapping[Address, Sequence[Address]]
"""Each node → what it needs; needs that are no key of the mapping are ignored."""


class CycleError(ValueError):
    """path: the nodes of one cycle, the first again at the end."""

    def __init__(self, path: Sequence[Address]) -> None:
        super().__init__(f"nodes that need each other: {' → '.join(map(str, path))}")
        self.path = tuple(path)


def topological_order(needs: Needs) -> list[Address]:
    """Needs first; otherwise as near to the given order as possible. Raises CycleError."""
    rank = {address: index for index, address in enumerate(needs)}
    addresses = list(needs)
    waiting = {address: len(_known(needs, address)) for address in needs}
    dependents = _reversed(needs)
    ready = [rank[address] for address, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    order: list[Address] = []
    while ready:
        address = addresses[heapq.heappop(ready)]
        order.append(address)
        for dependent in dependents[address]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                heapq.heappush(ready, rank[dependent])
    if len(order) < len(addresses):
        raise CycleError(_cycle(needs, {address for address, count in waiting.items() if count}))
    return order


def with_needs(needs: Needs, targets: Iterable[Address]) -> set[Address]:
    """The targets and everything that they need, over any number of steps."""
    return _closure({address: _known(needs, address) for address in needs}, targets)


def with_dependents(needs: Needs, targets: Iterable[Address]) -> set[Address]:
    """The targets and everything that needs them, over any number of steps."""
    return _closure(_reversed(needs), targets)


def expand_matrix(matrix: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    """Every combination; keys in alphabetical order, so that their order in the spec does not matter."""
    keys = sorted(matrix)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(matrix[key] for key in keys))]


def _known(needs: Needs, address: Address) -> list[Address]:
    return [need for need in dict.fromkeys(needs[address]) if need in needs]


def _reversed(needs: Needs) -> dict[Address, list[Address]]:
    dependents: dict[Address, list[Address]] = {address: [] for address in needs}
    for address in needs:
        for need in _known(needs, address):
            dependents[need].append(address)
    return dependents


def _closure(edges: Mapping[Address, Sequence[Address]], start: Iterable[Address]) -> set[Address]:
    found: set[Address] = set()
    todo = list(start)
    while todo:
        address = todo.pop()
        if address not in found:
            found.add(address)
            todo.extend(edges.get(address, ()))
    return found


def _cycle(needs: Needs, stuck: set[Address]) -> list[Address]:
    """One cycle among nodes that never became ready: each of them needs another of them."""
    path: list[Address] = []
    current = next(address for address in needs if address in stuck)
    while current not in path:
        path.append(current)
        current = next(need for need in _known(needs, current) if need in stuck)
    return [*path[path.index(current) :], current]
