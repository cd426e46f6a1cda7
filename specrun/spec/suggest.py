"""Did you mean: the nearest of the words that would have been right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CUTOFF = 0.6
_LONG = 4
_MAX_LISTED = 12


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a person most likely meant, ignoring case and separators."""
    by_folded: dict[str, str] = {}
    for candidate in candidates:
        by_folded.setdefault(_folded(candidate), candidate)
    folded = _folded(word)
    if folded in by_folded:
        return by_folded[folded]
    # One slip of the fingers first: by what they share alone, "adma" would be nearer to "adamax" than to "adam".
    slips = [name for name in by_folded if len(folded) >= _LONG and _is_one_slip(folded, name)]
    close = difflib.get_close_matches(folded, slips or by_folded, n=1, cutoff=_CUTOFF)
    if close:
        return by_folded[close[0]]
    inside = [name for key, name in by_folded.items() if len(folded) > 3 and (key in folded or folded in key)]
    return inside[0] if len(inside) == 1 else None


def _is_one_slip(word: str, other: str) -> bool:
    """Whether one letter was added, left out or replaced, or two neighbours changed places."""
    if abs(len(word) - len(other)) > 1:
        return False
    while word and other and word[0] == other[0]:
        word, other = word[1:], other[1:]
    while word and other and word[-1] == other[-1]:
        word, other = word[:-1], other[:-1]
    return max(len(word), len(other)) <= 1 or (len(word) == 2 and word == other[::-1])


def did_you_mean(word: str, candidates: Iterable[str], *, otherwise: str = "") -> str | None:
    """The sentence; without a near candidate, the whole list when it is short: `{otherwise} a, b, c.`"""
    names = list(candidates)
    found = nearest(word, names)
    if found is not None and found != word:
        return f'Did you mean "{found}"?'
    if not names or not otherwise:
        return None
    return f"{otherwise} {listed(names)}."


def listed(names: Iterable[str], joiner: str = "or") -> str:
    """`a, b or c`; long lists end with how many more there are."""
    every = list(names)
    shown = every[:_MAX_LISTED]
    if len(every) > len(shown):
        return f"{', '.join(shown)} and {len(every) - len(shown)} more"
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} {joiner} {shown[-1]}"


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")
