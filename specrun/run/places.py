"""Which folders are watched, so that a change of the spec or of a local source is heard of.

Folders, not files: editors save by renaming, and a watch on a file stays with the file that was renamed away. What
specrun itself writes is never watched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """flat: folders whose direct children are watched. deep: with all that lies below.
    any_in: those of `flat` in which every name counts. roots: single paths that count. own: what never counts.
    identity: changes when a watched folder was replaced by another of the same name."""

    flat: frozenset[str]
    deep: frozenset[str]
    any_in: frozenset[str]
    roots: frozenset[str]
    own: tuple[str, ...]
    identity: tuple[tuple[str, int, int], ...]

    def concerns(self, path: str) -> bool:
        """Whether a change of this path may change the plan."""
        if any(is_below(path, own) for own in self.own):
            return False
        return (
            path in self.roots
            or os.path.dirname(path) in self.any_in
            or any(is_below(path, folder) for folder in self.deep)
        )


def is_below(path: str, folder: str) -> bool:
    """The folder itself counts."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def places_of(files: Iterable[Path], folders: Iterable[Path], own: Iterable[Path]) -> Places:
    """files and folders: what the plan depends on; some may not exist. own: what specrun writes.

    A file counts with its folder, both where it is named and where a link leads.
    """
    mine = tuple(sorted({os.fspath(p) for path in own for p in (path.absolute(), path.resolve())}))
    any_in: set[str] = set()
    flat: set[str] = set()
    deep: set[str] = set()
    roots: set[str] = set()
    for file in files:
        for written in {file.absolute(), file.resolve()}:
            any_in.add(_existing(written.parent))
    for folder in folders:
        top = os.fspath(folder.absolute())
        if any(is_below(top, place) for place in mine):
            continue
        if not os.path.isdir(top):
            any_in.add(_existing(Path(top)))
            continue
        roots.add(top)
        flat.add(os.path.dirname(top))
        for inner, whole in _around(top, mine):
            (deep if whole else any_in).add(inner)
    any_in = {path for path in any_in if not any(is_below(path, place) for place in mine)}
    flat |= any_in
    flat = {path for path in flat if not any(is_below(path, folder) for folder in deep)}
    deep = {path for path in deep if not any(path != other and is_below(path, other) for other in deep)}
    return Places(
        frozenset(flat), frozenset(deep), frozenset(any_in), frozenset(roots), mine, tuple(_identity(flat | deep))
    )


def _around(folder: str, own: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """A folder as such (True), or, where specrun writes below it, it and the folders in it beside that.

    Hidden folders (.git, .venv) are then left to the regular look: they hold thousands.
    """
    if not any(is_below(place, folder) for place in own):
        yield folder, True
        return
    yield folder, False
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return
    for name in sorted(names):
        inner = os.path.join(folder, name)
        if inner not in own:
            yield from _around(inner, own)


def _existing(folder: Path) -> str:
    """The folder, or the nearest one above it that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return os.fspath(folder)


def _identity(folders: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    for folder in sorted(folders):
        try:
            found = os.stat(folder)
        except OSError:
            yield folder, 0, 0
        else:
            yield folder, found.st_dev, found.st_ino
