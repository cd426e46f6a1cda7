"""What changed between two JSON values, leaf by leaf, and how to say it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from specrun.model.digest import Json, canonical_json

_MISSING = object()
_SHORT = 40
_ITEMS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Change:
    """path: dotted. added or removed: the other side did not have it."""

    path: str
    old: Json
    new: Json
    added: bool = False
    removed: bool = False

    @property
    def text(self) -> str:
        """`train.epochs 50 → 100`"""
        if self.added:
            return f"{self.path} set to {short(self.new)}"
        if self.removed:
            return f"{self.path} removed (was {short(self.old)})"
        return f"{self.path} {_items_text(self.old, self.new) or f'{short(self.old)} → {short(self.new)}'}"


def changes(old: object, new: object, path: str = "") -> Iterator[Change]:
    """Leaves that differ. Lists of scalars are compared whole; other lists by position."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(k for k in old if k not in new)]:
            yield from changes(old.get(key, _MISSING), new.get(key, _MISSING), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list) and _nested(old) and _nested(new):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else _MISSING
            after = new[index] if index < len(new) else _MISSING
            yield from changes(before, after, f"{path}.{index}")
    elif old is _MISSING:
        yield Change(path, None, new, added=True)  # type: ignore[arg-type]
    elif new is _MISSING:
        yield Change(path, old, None, removed=True)  # type: ignore[arg-type]
    elif canonical_json(old) != canonical_json(new):
        yield Change(path, old, new)  # type: ignore[arg-type]


def _nested(values: list[object]) -> bool:
    return any(isinstance(value, (dict, list)) for value in values)


def _items_text(old: Json, new: Json) -> str:
    """What came to a long list and what went (`+ "c" - "b"`); "" where nothing of it stayed, or both can be shown."""
    if not isinstance(old, list) or not isinstance(new, list) or (_fits(old) and _fits(new)):
        return ""
    before, now = (Counter(json.dumps(value, ensure_ascii=False) for value in values) for values in (old, new))
    if before == now:
        return "in another order"
    if not before & now:
        return ""
    signed = (("+", now - before), ("-", before - now))
    return " ".join(f"{sign} {_listed(list(found.elements()))}" for sign, found in signed if found)


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _ITEMS_SHOWN} more" if len(items) > _ITEMS_SHOWN else ""
    return ", ".join(_cut(item) for item in items[:_ITEMS_SHOWN]) + more


def short(value: object) -> str:
    """A value in a plan's line: strings bare, long ones cut."""
    return _cut(_written(value))


def _written(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _fits(value: object) -> bool:
    return len(_written(value)) <= _SHORT


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
