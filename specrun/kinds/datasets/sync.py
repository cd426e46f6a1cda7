"""Three-way merging of a dataset: what was imported last, what people made of it here, what comes now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeVar

from specrun.errors import NodeError

T = TypeVar("T")
OnConflict = Literal["keep", "upstream", "fail"]


class Outcome(Enum):
    SAME = "same"
    TAKEN = "taken"
    KEPT = "kept"
    CONFLICT = "conflict"


def three_way(base: T, here: T, upstream: T, *, moved: bool | None = None) -> Outcome:
    """Who changed a value. moved: whether upstream changed it, where that is known better than by comparison."""
    if here == upstream:
        return Outcome.SAME
    if here == base:
        return Outcome.TAKEN
    upstream_moved = upstream != base if moved is None else moved
    return Outcome.CONFLICT if upstream_moved else Outcome.KEPT


def resolve(outcome: Outcome, on_conflict: OnConflict, what: str) -> bool:
    """Whether upstream's value is taken. Raises NodeError: a conflict that the spec calls a failure."""
    if outcome is Outcome.CONFLICT and on_conflict == "fail":
        raise NodeError(
            f"{what}: changed at its source and in FiftyOne.",
            hint="Choose with on_conflict: keep or on_conflict: upstream.",
        )
    return outcome is Outcome.TAKEN or (outcome is Outcome.CONFLICT and on_conflict == "upstream")


def merge_tags(base: Iterable[str], here: Sequence[str], upstream: Iterable[str]) -> list[str]:
    """Tags are a set: what people added stays, what they took away stays away, the rest follows upstream.

    Splits must be left out: they exclude each other.
    """
    imported, now = set(base), set(here)
    wanted = [tag for tag in upstream if tag in now or tag not in imported]
    return [*wanted, *(tag for tag in here if tag not in imported and tag not in wanted)]


def merge_fields(
    base: Mapping[str, object],
    here: Mapping[str, object],
    upstream: Mapping[str, object],
    on_conflict: OnConflict,
    what: str,
) -> tuple[dict[str, object], int]:
    """The fields to be set (None: taken away) and how many were in conflict; each field by itself."""
    changes: dict[str, object] = {}
    conflicts = 0
    for name in base.keys() | upstream.keys():
        outcome = three_way(base.get(name), here.get(name), upstream.get(name))
        conflicts += outcome is Outcome.CONFLICT
        if resolve(outcome, on_conflict, f"{what}, {name}"):
            changes[name] = upstream.get(name)
    return changes, conflicts


ORDINARY = frozenset({"added", "updated", "unchanged"})
"""What every import does."""


@dataclass
class Report:
    """What a synchronisation did, for the notes. Examples are the names of samples."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, name: str | None = None) -> None:
        self.counts[what] += 1
        shown = self.examples.setdefault(what, [])
        if name is not None and len(shown) < 3:
            shown.append(name)

    def lines(self) -> list[str]:
        """`64 samples added`: everything, for the log of the run."""
        return self._lines(frozenset())

    def notes(self) -> list[str]:
        """`2 samples kept as they were mended in FiftyOne: a.png, b.png`: what still matters after the run."""
        return self._lines(ORDINARY)

    def _lines(self, without: Collection[str]) -> list[str]:
        lines = []
        for what, count in sorted(self.counts.items()):
            if what in without:
                continue
            shown = self.examples.get(what) or []
            names = f": {', '.join(shown)}{' …' if count > len(shown) else ''}" if shown else ""
            lines.append(f"{count} {'sample' if count == 1 else 'samples'} {what}{names}")
        return lines
