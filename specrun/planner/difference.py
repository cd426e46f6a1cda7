"""What changed between two JSON values, leaf by leaf, and how to say it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from specrun.model.digest import Json, canonical_json

_MISSING = object()
_SHORT = 40


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
        return f"{self.path} {short(self.old)} → {short(self.new)}"


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


def short(value: object) -> str:
    """A value in a plan's line: strings bare, long ones cut."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
