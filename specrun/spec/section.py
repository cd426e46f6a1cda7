"""Sections: top-level keys and the kinds that each knows. Imports no pydantic, so that a registry costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from specrun.spec.kind import Declaration, Kind


@dataclass(frozen=True)
class Section:
    """A top-level key. kinds: kind name → `module:Class`, imported on need.

    default: the kind used when an entry names none (a section of one kind has no `kind` key).
    nodes: its entries are nodes of the graph; otherwise they are declarations.
    late: first words of `${...}` that its kinds fill in themselves at run time.
    """

    name: str
    kinds: Mapping[str, str]
    default: str | None = None
    nodes: bool = True
    title: str = ""
    order: int = field(default=0)
    late: frozenset[str] = frozenset()

    @property
    def has_kind_key(self) -> bool:
        return self.default is None or len(self.kinds) > 1

    def load(self, kind: str) -> Kind | Declaration:
        """Raises KeyError for an unknown kind."""
        return _load(self.kinds[kind])


Registry = Mapping[str, Section]
"""Section name → Section, in the order in which they are shown."""


def kind_of(name: str, registry: Registry) -> Kind:
    """`exports.yolo` → its Kind; raises KeyError."""
    section, _, kind = name.partition(".")
    assert registry[section].nodes, name
    return cast("Kind", registry[section].load(kind))


@cache
def _load(place: str) -> Kind | Declaration:
    module, _, name = place.partition(":")
    loaded: Kind | Declaration = getattr(importlib.import_module(module), name)()
    return loaded
