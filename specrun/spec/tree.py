"""What stands in a spec: plain values, each with its place in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from specrun.model.diagnostic import Position

ScalarValue = None | bool | int | float | str
PathKey = str | int


@dataclass(frozen=True, slots=True)
class Scalar:
    """written: the text in the file where the value came in through `${...}`.
    outside: the value is text of the environment, so it is never shown and may stand for a number.
    broken: its interpolation failed and was reported; nothing more is said about it.
    """

    value: ScalarValue
    where: Position
    written: str | None = None
    outside: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Tree, ...]
    where: Position


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping; where: the key."""

    key: str
    where: Position
    value: Tree


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping. Keys are text, as in JSON; where: its first character."""

    entries: Mapping[str, Entry]
    where: Position

    def get(self, key: str) -> Tree | None:
        entry = self.entries.get(key)
        return entry.value if entry else None

    def with_entry(self, entry: Entry) -> Table:
        return replace(self, entries={**self.entries, entry.key: entry})

    def without(self, *keys: str) -> Table:
        return replace(self, entries={key: entry for key, entry in self.entries.items() if key not in keys})


Tree = Scalar | Items | Table


def plain(tree: Tree) -> Any:
    """The JSON value."""
    if isinstance(tree, Scalar):
        return tree.value
    if isinstance(tree, Items):
        return [plain(item) for item in tree.items]
    return {key: plain(entry.value) for key, entry in tree.entries.items()}


def child(tree: Tree, key: PathKey) -> Tree | None:
    """The value under a key or an index; digits in text are an index too."""
    if isinstance(tree, Table):
        return tree.get(str(key))
    if isinstance(tree, Items) and str(key).isdecimal() and int(key) < len(tree.items):
        return tree.items[int(key)]
    return None


def child_position(tree: Tree, key: PathKey) -> Position | None:
    """Where a key or an item stands."""
    if isinstance(tree, Table) and str(key) in tree.entries:
        return tree.entries[str(key)].where
    found = child(tree, key)
    return found.where if found else None


def replaced(tree: Tree, path: Sequence[PathKey], value: Tree) -> Tree:
    """The same tree with another value at an existing path."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(tree, Table):
        entry = tree.entries[str(key)]
        return tree.with_entry(replace(entry, value=replaced(entry.value, rest, value)))
    assert isinstance(tree, Items)
    items = list(tree.items)
    items[int(key)] = replaced(items[int(key)], rest, value)
    return replace(tree, items=tuple(items))


def positions(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Position]]:
    """Dotted path → place of every key and item below, `classes.0`."""
    if isinstance(tree, Table):
        for key, entry in tree.entries.items():
            yield f"{prefix}{key}", entry.where
            yield from positions(entry.value, f"{prefix}{key}.")
    elif isinstance(tree, Items):
        for index, item in enumerate(tree.items):
            yield f"{prefix}{index}", item.where
            yield from positions(item, f"{prefix}{index}.")


def scalars(tree: Tree) -> Iterator[Scalar]:
    """Every scalar value, in order."""
    if isinstance(tree, Scalar):
        yield tree
    elif isinstance(tree, Items):
        for item in tree.items:
            yield from scalars(item)
    else:
        for entry in tree.entries.values():
            yield from scalars(entry.value)


def kind_of_value(tree: Tree) -> str:
    """What a person calls it: text, a number, a list."""
    match tree:
        case Table():
            return "a mapping"
        case Items():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return "true or false"
        case Scalar(value=str()):
            return "text"
        case Scalar():
            return "a number"
