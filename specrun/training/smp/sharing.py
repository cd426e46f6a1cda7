"""How many images each process gets, so that a step of the optimizer sees as many as the spec says, whatever the
machine has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """world: processes. batch: images at a time in each. accumulate: batches to a step of the optimizer."""

    world: int
    batch: int
    accumulate: int

    @property
    def images(self) -> int:
        """At a time, over all processes: these are what a loss is taken over."""
        return self.world * self.batch


def share_images(images: int, accumulate: int, *, most: int, processes: int) -> Share:
    """`images` at a time, over as many of the processes as they can be shared by evenly.

    Where each would get more than `most`, they come in several batches that are accumulated.
    """
    world = next(count for count in range(max(1, processes), 0, -1) if images % count == 0)
    each = images // world
    batch = next(size for size in range(min(most, each), 0, -1) if each % size == 0)
    return Share(world, batch, accumulate * (each // batch))


def batches_of_rank(count: int, batch: int, *, rank: int, world: int) -> Iterator[tuple[list[int], bool]]:
    """Places 0 … count-1 in batches for one process, each place once over all of them; and whether they count.

    The last batch may be smaller, and the smaller by one image on some ranks. A rank that would get none gets a place
    that another has, which does not count: every rank must take part in every step.
    """
    for start in range(0, count, batch * world):
        whole = range(start, min(count, start + batch * world))
        mine = list(whole[rank::world])
        yield (mine, True) if mine else ([whole[0]], False)
