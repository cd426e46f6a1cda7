"""A spec of which only the kinds of some addresses are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class StillLookup:
    project_dir = str(Path())

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds

    def spec(self, address: str) -> None:
        return None

    def kind_of(self, address: str) -> str | None:
        return self._kinds.get(address)

    def addresses(self, section: str) -> list[str]:
        return [address for address in self._kinds if address.startswith(f"{section}.")]
