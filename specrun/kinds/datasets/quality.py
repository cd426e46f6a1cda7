"""Quality tags: samples with few, many or no labels, marked for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Rule(Protocol):
    @property
    def tag(self) -> str: ...
    @property
    def min_labels(self) -> int | None: ...
    @property
    def max_labels(self) -> int | None: ...


def quality_tags(labels: int, rules: Iterable[Rule]) -> list[str]:
    """The tags whose bounds the number of labels lies in, both bounds included."""
    return [
        rule.tag
        for rule in rules
        if (rule.min_labels is None or labels >= rule.min_labels)
        and (rule.max_labels is None or labels <= rule.max_labels)
    ]
