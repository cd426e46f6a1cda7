"""The files that a source is made of: a digest for the state, the changed names for the reasons.

The value in the state is small: {"labels": {"digest", "count"}, "media": {"digest", "count"}}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from specrun.model.digest import Json
from specrun.model.work import Listing

_SHOWN = 3
_NOUNS = {"labels": ("label file", "label files"), "media": ("image", "images")}


class Files(Protocol):
    """What Look and ListingCache have in common."""

    def listing(self, folder: Path, include: Sequence[str] = ..., exclude: Sequence[str] = ...) -> Listing: ...
    def file_digest(self, path: Path) -> str | None: ...


def watched_file(files: Files, path: Path) -> Listing:
    """One file as a listing; count 0 when it does not exist."""
    digest = files.file_digest(path)
    if digest is None:
        return Listing(digest="", count=0, size_bytes=0)
    size = path.stat().st_size
    return Listing(digest=digest, count=1, size_bytes=size, files=((path.name, size, digest),))


def below(root: Path, *folders: Path) -> tuple[str, ...]:
    """Globs that leave out folders below the root: what specrun itself writes is no input."""
    return tuple(f"{f.relative_to(root).as_posix()}/**" for f in folders if f != root and f.is_relative_to(root))


def value_of(listings: Mapping[str, Listing]) -> dict[str, Json]:
    """Observation.value."""
    return {name: {"digest": found.digest, "count": found.count} for name, found in listings.items()}


def differences(before: Json, listings: Mapping[str, Listing]) -> tuple[str, ...]:
    """What changed since the recorded value, readable. before: an Observation.value, or None."""
    if not isinstance(before, dict):
        return ()
    lines: list[str] = []
    for name, now in listings.items():
        recorded = before.get(name)
        if isinstance(recorded, dict) and recorded.get("digest") != now.digest:
            lines += _file_lines(name, now) or [_count_line(name, recorded, now)]
    return tuple(lines)


def _file_lines(name: str, now: Listing) -> list[str]:
    """Empty when it is not known which files the recorded digest stands for."""
    one, many = _NOUNS[name]
    lines: list[str] = []
    if now.changed:
        only = len(now.changed) == 1
        lines.append(
            f"{now.changed[0]} changed" if only else f"{len(now.changed)} {many} changed: {_names(now.changed)}"
        )
    for sign, names in (("+", now.added), ("-", now.removed)):
        if names:
            lines.append(f"{sign}{len(names)} {one if len(names) == 1 else many}: {_names(names)}")
    return lines


def _names(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")


def _count_line(name: str, recorded: Mapping[str, Json], now: Listing) -> str:
    many = _NOUNS[name][1]
    before = recorded.get("count")
    if before == 1 and len(now.files) == 1:
        return f"{now.files[0][0]} changed"
    if isinstance(before, int) and before != now.count:
        return f"{before} → {now.count} {many}"
    return f"{many} changed"
