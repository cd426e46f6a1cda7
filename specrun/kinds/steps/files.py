"""The files of the project that a step watches: what its words and `files` name, by content.

The value in the state is {path relative to the project: digest of a file, or {"digest", "count"} of a folder}.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from specrun.model.digest import Json
from specrun.model.work import Listing

CHANGED = "changed while the step ran"
"""Recorded instead of a digest: equal to none, so that the step is stale."""
NOT_WATCHED = frozenset({".git", ".specrun", "__pycache__"})
"""Folders that change by themselves: history, specrun's own, and what Python compiles while it runs."""
_LONGEST_PATH = 4096
_LONGEST_NAME = 256


class Digests(Protocol):
    """What Look and ListingCache have in common."""

    def listing(self, folder: Path, include: Sequence[str] = ..., exclude: Sequence[str] = ...) -> Listing: ...
    def file_digests(self, paths: Sequence[Path]) -> Mapping[Path, str | None]: ...


def named_path(word: str, project_dir: Path, output_root: Path) -> Path | None:
    """The file or folder of the project that a word of `argv` names.

    A folder is written with a slash (`data/`, `./train`): `train` alone may as well be a command. What holds or
    lies in a place of specrun's own is none, and neither is `.`: that is the output folder.
    """
    if not word or word.startswith("-") or os.path.isabs(word) or "\0" in word or len(word) >= _LONGEST_PATH:
        return None
    path = project_dir / word
    try:
        if path.is_file():
            return path
        return path if "/" in word and path.is_dir() and _is_input(path, project_dir, output_root) else None
    except OSError:
        # Longer than a name may be, for example.
        return None


def is_bare_folder(word: str, project_dir: Path) -> bool:
    """A word without a slash that is also the name of a folder of the project."""
    return (
        word not in NOT_WATCHED | {"", ".", ".."}
        and "/" not in word
        and "\0" not in word
        and len(word.encode()) < _LONGEST_NAME
        and (project_dir / word).is_dir()
    )


def watched(
    words: Iterable[str], patterns: Iterable[str], project_dir: Path, output_root: Path
) -> tuple[list[Path], list[Path]]:
    """Files and folders, sorted. A pattern that names a folder outright stands for everything in it."""
    named = {path for word in words if (path := named_path(word, project_dir, output_root)) is not None}
    matched: set[Path] = set()
    for pattern in patterns:
        matches = glob.glob(pattern, root_dir=project_dir, recursive=True)
        paths = (project_dir / match for match in matches if len(match) < _LONGEST_PATH)
        kept = [path for path in paths if _is_input(path, project_dir, output_root)]
        if glob.has_magic(pattern):
            matched.update(path for path in kept if not path.is_dir())
        else:
            named.update(kept)
    folders = {path for path in named if path.is_dir()}
    return sorted(matched | (named - folders)), sorted(folders)


def digests(files: Sequence[Path], folders: Sequence[Path], cache: Digests, project_dir: Path) -> dict[str, Json]:
    """By path relative to the project, so that a project may be moved; what is not there is left out."""
    found: dict[str, Json] = {
        _shown(path, project_dir): digest
        for path, digest in (cache.file_digests(files) if files else {}).items()
        if digest is not None
    }
    for folder in folders:
        listing = cache.listing(folder, ("**/*",), tuple(f"**/{name}/**" for name in sorted(NOT_WATCHED)))
        found[_shown(folder, project_dir)] = {"digest": listing.digest, "count": listing.count}
    return found


def differences(before: Json, now: Mapping[str, Json]) -> tuple[str, ...]:
    """What changed since the recorded value, readable."""
    old = before if isinstance(before, dict) else {}
    changed = [f"{name} changed" for name in now if name in old and old[name] != now[name]]
    added = [f"{name} is new" for name in now if name not in old]
    removed = [f"{name} is gone" for name in old if name not in now]
    return (*changed, *added, *removed)


def seen_while_running(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[dict[str, Json], list[str]]:
    """What to record of files that were looked at before and after the program, and those that changed between.

    Which of its contents the program read is not known, so a changed file is recorded as that.
    """
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return {**before, **dict.fromkeys(names, CHANGED)}, names


def _is_input(path: Path, project_dir: Path, output_root: Path) -> bool:
    # Texts, not Paths: this is asked for every watched file at every plan, and costs a sixth so.
    place, project = os.path.normpath(path), os.fspath(project_dir)
    own_places = (os.fspath(output_root), os.path.join(project, ".specrun"))
    if place == project or any(_is_in(place, own) or _is_in(own, place) for own in own_places):
        return False
    return not _is_in(place, project) or NOT_WATCHED.isdisjoint(place[len(project) :].split(os.sep))


def _is_in(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def _shown(path: Path, project_dir: Path) -> str:
    return str(path).removeprefix(os.path.join(project_dir, ""))
