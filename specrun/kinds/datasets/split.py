"""Which split a sample belongs to: by hash, so that adding samples moves none of the others."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_FEW = 2


@dataclass(frozen=True, slots=True)
class Member:
    """group: samples of one group stay together. stratum: ratios hold within each; "" without stratification."""

    key: str
    group: str
    stratum: str = ""


def assign_splits(
    members: Sequence[Member], ratios: Mapping[str, float], seed: int, kept: Mapping[str, str]
) -> dict[str, str]:
    """Sample key → split.

    Without strata a group's split follows from its own hash alone. With strata the ratios are filled up within
    each in the order of the hashes; a group in `kept` (group → split of last time) stays where it is.
    """
    strata: dict[str, Counter[str]] = {}
    sizes: Counter[str] = Counter()
    for member in members:
        strata.setdefault(member.group, Counter())[member.stratum] += 1
        sizes[member.group] += 1
    homes = {group: min(votes, key=lambda s: (-votes[s], s)) for group, votes in strata.items()}
    if not any(homes.values()):
        chosen = {group: _by_threshold(position(seed, group), ratios) for group in homes}
    else:
        chosen = _fill_strata(homes, sizes, ratios, seed, kept)
    return {member.key: chosen[member.group] for member in members}


def small_splits(sizes: Mapping[str, int], ratios: Mapping[str, float]) -> Iterator[str]:
    """Notes of splits that came out with hardly an image: few images meet no ratio by their hashes alone."""
    total = sum(sizes.values())
    for split, ratio in ratios.items():
        count = sizes.get(split, 0)
        if ratio > 0 and count < _FEW and total:
            yield (
                f"split: {split} has {count} of {total:,} image{'' if total == 1 else 's'}, {ratio:.0%} was asked for; "
                "each image's own hash decides, and stratify_by fills the ratios up"
            )


def position(seed: int, group: str) -> float:
    """A number in [0, 1) that depends on seed and group alone."""
    digest = hashlib.blake2b(f"{seed}\0{group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _by_threshold(place: float, ratios: Mapping[str, float]) -> str:
    reached = 0.0
    wanted = [split for split, ratio in ratios.items() if ratio > 0]
    for split in wanted:
        reached += ratios[split]
        if place < reached:
            return split
    return wanted[-1]  # the ratios' sum may be a rounding error short of one


def _fill_strata(
    homes: Mapping[str, str], sizes: Mapping[str, int], ratios: Mapping[str, float], seed: int, kept: Mapping[str, str]
) -> dict[str, str]:
    held: dict[str, Counter[str]] = {}
    chosen = {group: kept[group] for group in homes if kept.get(group) in ratios}
    for group, split in chosen.items():
        held.setdefault(homes[group], Counter())[split] += sizes[group]
    for group in sorted(homes.keys() - chosen.keys(), key=lambda g: (position(seed, g), g)):
        counts = held.setdefault(homes[group], Counter())
        total = sum(counts.values()) + sizes[group]
        split = max((s for s in ratios if ratios[s] > 0), key=lambda s: ratios[s] * total - counts[s])
        counts[split] += sizes[group]
        chosen[group] = split
    return chosen
