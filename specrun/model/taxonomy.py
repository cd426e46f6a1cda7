"""Taxonomies as consumers see them: from the class that a source uses to the class of the project, or none."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.errors import NodeError
from specrun.model.digest import Json

ERROR, KEEP, DROP = "error", "keep", "drop"


class UnmappedLabel(NodeError):
    """A label that the taxonomy does not know, where `unmapped: error` holds."""


@dataclass(frozen=True)
class ResolvedTaxonomy:
    """classes: in the project's order, or None where they follow from the data (sorted by name).
    mapping: class of the source → class of the project. unmapped: error, keep, drop, or a class.
    colors: class → `#rrggbb`.
    """

    classes: tuple[str, ...] | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    unmapped: str | tuple[str] = ERROR
    """A word of ERROR, KEEP and DROP, or a tuple with the class that takes the rest."""
    colors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ResolvedTaxonomy:
        """The resolved JSON of a `taxonomies` entry."""
        unmapped = data["unmapped"]
        return cls(
            classes=None if data["classes"] is None else tuple(data["classes"]),
            mapping=data["map"],
            dropped=frozenset(data["drop"]),
            unmapped=(unmapped["to"],) if isinstance(unmapped, Mapping) else unmapped,
            colors=data["colors"],
        )

    def to_json(self) -> dict[str, Json]:
        return {
            "classes": None if self.classes is None else [*self.classes],
            "map": dict(sorted(self.mapping.items())),
            "drop": [*sorted(self.dropped)],
            "unmapped": {"to": self.unmapped[0]} if isinstance(self.unmapped, tuple) else self.unmapped,
            "colors": dict(sorted(self.colors.items())),
        }

    @property
    def known(self) -> frozenset[str]:
        """Classes that map to themselves: those declared, or those that others are mapped to."""
        rest = self.unmapped if isinstance(self.unmapped, tuple) else ()
        return frozenset(self.classes if self.classes is not None else (*self.mapping.values(), *rest))

    def apply(self, label: str) -> str | None:
        """The project's class; None: the label is dropped. Raises UnmappedLabel."""
        if label in self.dropped:
            return None
        if label in self.mapping:
            return self.mapping[label]
        if label in self.known or self.unmapped == KEEP:
            return label
        if self.unmapped == DROP:
            return None
        if isinstance(self.unmapped, tuple):
            return self.unmapped[0]
        raise UnmappedLabel(f'the taxonomy has no class "{label}".', hint=self._hint(label))

    def order(self, found: set[str] | frozenset[str]) -> list[str]:
        """Every class in the project's order. found: mapped labels; those not declared follow, sorted."""
        declared = list(self.classes or ())
        return [*declared, *sorted(found - set(declared))]

    def _hint(self, label: str) -> str:
        folded = {name.lower(): name for name in sorted({*self.known, *self.mapping, *self.dropped})}
        near = difflib.get_close_matches(label.lower(), folded, n=1)
        meant = f' Is it "{folded[near[0]]}"?' if near else ""
        return f"Map it, drop it, or say `unmapped: keep` (or drop, or {{to: …}}).{meant}"
