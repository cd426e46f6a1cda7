"""The command palette: go to a node, or do what a key does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.markup import escape


class Commanded(Protocol):
    """What the palette needs of the app."""

    def palette_entries(self) -> list[tuple[str, str, Callable[[], object]]]:
        """(title, help, what it does); titles may hold outside text."""
        ...


class NodeCommands(Provider):
    """Titles are plain content: an address with brackets is no markup. Textual reads the help as markup."""

    async def discover(self) -> Hits:
        for title, help_text, act in self._entries():
            yield DiscoveryHit(Content(title), partial(_run, act), text=title, help=escape(help_text))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, help_text, act in self._entries():
            score = matcher.match(title)
            if score > 0:
                yield Hit(score, Content(title), partial(_run, act), text=title, help=escape(help_text))

    def _entries(self) -> list[tuple[str, str, Callable[[], object]]]:
        return cast(Commanded, self.app).palette_entries()


def _run(act: Callable[[], object]) -> None:
    act()
