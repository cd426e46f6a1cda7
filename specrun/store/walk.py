"""Walking a folder: names, sizes, times and inodes of the wanted files, nothing read.

scandir on a descriptor makes every stat relative to the folder, which spares the kernel the path: measured on
100,000 files, walking and building the stat text costs what a bare scandir + stat by path costs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from specrun.errors import NodeError
from specrun.model.digest import bytes_digest
from specrun.store.patterns import EVERYTHING, compile_folders, compile_patterns, names_hidden

SEPARATOR = "\0"
"""The one character besides "/" that no file name holds."""
_LINK_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Walked:
    """folders: sorted (prefix, its files), the files as name, size, stamp, name, … joined by NUL:
    a tenth of the memory and time of objects, for the many walks that find nothing new."""

    folders: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        """Of names and stat: equal as long as nothing was touched."""
        text = "".join(f"{prefix}\0\0{files}\0\0\0" for prefix, files in self.folders)
        return bytes_digest(text.encode("utf-8", "surrogateescape"))

    def files(self) -> Iterator[tuple[str, int, str]]:
        """(relative posix path, size, stamp)."""
        for prefix, text in self.folders:
            fields = iter(text.split(SEPARATOR))
            for name, size, stamp in zip(fields, fields, fields, strict=True):
                yield prefix + name, int(size), stamp


def stamp_of(found: os.stat_result) -> str:
    """What differs after any change of a file: mtime, ctime and inode.

    ctime, because an archive extracted again brings back mtimes, and often inodes too, with new contents.
    """
    return f"{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"


def walk(folder: Path, include: Sequence[str] = EVERYTHING, exclude: Sequence[str] = ()) -> Walked:
    """Links are followed, each loop of links once. A file that vanishes meanwhile was not there.

    Raises NodeError: no such folder, a folder that cannot be read, or a link to nothing.
    """
    if not folder.is_dir():
        raise NodeError(f"{folder}: " + ("is a file, not a folder." if folder.exists() else "no such folder."))
    return Walked(tuple(sorted(_Walk(include, exclude).run(str(folder)))))


@dataclass(frozen=True, slots=True)
class _Place:
    """links: the real folders that were entered through links on the way here."""

    path: str
    prefix: str
    links: frozenset[str]


class _Walk:
    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._everything = tuple(include) == EVERYTHING
        self._included = compile_patterns(include).fullmatch
        self._excluded = compile_patterns(exclude).fullmatch if exclude else None
        self._pruned = compile_folders(exclude).fullmatch if exclude else None
        self._hidden = names_hidden(include)

    def run(self, folder: str) -> Iterator[tuple[str, str]]:
        waiting = [_Place(folder, "", frozenset())]
        while waiting:
            place = waiting.pop()
            try:
                text = self._list(place, waiting)
            except FileNotFoundError:
                continue
            except OSError as error:
                name = error.filename if isinstance(error.filename, str) else place.path
                raise NodeError(f"{name}: cannot be read ({error.strerror}).") from error
            if text:
                yield place.prefix, text

    def _list(self, place: _Place, waiting: list[_Place]) -> str:
        lines: list[str] = []
        descriptor = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == "." and not self._hidden:
                        continue
                    if entry.is_dir():
                        self._enter(place, entry, waiting)
                    elif self._wanted(place.prefix, name) and (found := _stat(entry, place)) is not None:
                        lines.append(f"{name}\0{found.st_size}\0{stamp_of(found)}")
        finally:
            os.close(descriptor)
        lines.sort()
        return SEPARATOR.join(lines)

    def _wanted(self, prefix: str, name: str) -> bool:
        if not self._everything and not self._included(prefix + name):
            return False
        return self._excluded is None or not self._excluded(prefix + name)

    def _enter(self, place: _Place, entry: os.DirEntry[str], waiting: list[_Place]) -> None:
        path, prefix = os.path.join(place.path, entry.name), place.prefix + entry.name
        if self._pruned is not None and self._pruned(prefix):
            return
        links = place.links
        if entry.is_symlink():
            target, here = os.path.realpath(path), os.path.realpath(place.path)
            if target in links or len(links) >= _LINK_DEPTH or f"{here}/".startswith(f"{target}/"):
                return
            links = links | {target}
        waiting.append(_Place(path, prefix + "/", links))


def _stat(entry: os.DirEntry[str], place: _Place) -> os.stat_result | None:
    try:
        return entry.stat()
    except FileNotFoundError:
        if entry.is_symlink() and os.path.lexists(path := os.path.join(place.path, entry.name)):
            raise NodeError(f"{path}: a link to nothing.", hint="Remove it or bring its target back.") from None
        return None
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror, os.path.join(place.path, entry.name)) from error
