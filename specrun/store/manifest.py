"""manifest.json: written last, so that a folder that has one is whole."""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from specrun.errors import NodeError
from specrun.model.artifact import MANIFEST_NAME, Manifest, ManifestFile
from specrun.model.digest import bytes_digest, file_digest
from specrun.store.filesystem import fsync_folder

NOTE_NAME = ".resume.json"
"""Says what a staging folder was begun for (store.staging); never part of an output."""
_PARTIAL_NAME = f".{MANIFEST_NAME}.partial"
OWN_NAMES = frozenset({MANIFEST_NAME, _PARTIAL_NAME, NOTE_NAME, f"{NOTE_NAME}.partial"})


def collect_files(folder: Path, known_digests: Mapping[str, str] | None = None) -> tuple[ManifestFile, ...]:
    """Every file below a folder, sorted by path, with size and digest; a link counts as its target.

    known_digests: relative posix path → digest of files that need not be read again.
    A linked folder is not entered: its content is not part of the output, its target's path stands for it.
    Absolute links into the folder become relative ones, since it will be moved.
    Raises NodeError: a file that cannot be read, a link to nothing or a relative one that leads out whose digest is
    not known.
    """
    known = known_digests or {}
    roots = (os.path.abspath(folder), os.path.realpath(folder))
    entries = list(_walk(folder))
    for entry, path in entries:
        if entry.is_symlink() and path not in known:
            _settle_link(entry, path, roots)
    found = [_describe(entry, path, known) for entry, path in entries]
    return tuple(sorted(found, key=lambda file: file.path))


def write_manifest(folder: Path, manifest: Manifest, *, sync: bool = True) -> None:
    """Written beside and renamed. sync: on the disk when it returns (publish syncs the whole folder anyway).

    Raises NodeError: somebody else's file has the manifest's name.
    """
    place, partial = folder / MANIFEST_NAME, folder / _PARTIAL_NAME
    # One of ours may have come with the copy of an output.
    if os.path.lexists(place) and read_manifest(folder) is None:
        raise NodeError(f"{place}: specrun keeps its own file under this name.", hint="Give yours another name.")
    (folder / NOTE_NAME).unlink(missing_ok=True)
    # A lone surrogate, from a file name that is no UTF-8, becomes \udcXX: that is what JSON calls it.
    with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps(manifest.to_json(), separators=(",", ":"), ensure_ascii=False))
        if sync:
            file.flush()
            os.fsync(file.fileno())
    os.replace(partial, place)
    if sync:
        fsync_folder(folder)


def read_manifest(folder: Path) -> Manifest | None:
    """None: there is none, or it is not one of ours or not whole."""
    try:
        return Manifest.from_json(json.loads((folder / MANIFEST_NAME).read_bytes()))
    except (OSError, KeyError, TypeError, ValueError):
        return None


def manifest_digest(folder: Path) -> str | None:
    """Digest of the manifest's bytes, by which a folder is known wherever it was moved; None: it has none."""
    try:
        return bytes_digest((folder / MANIFEST_NAME).read_bytes())
    except OSError:
        return None


def is_whole(folder: Path, manifest: Manifest) -> bool:
    """Whether every file of the manifest is there in its size: what a power cut cut short shows up here."""
    try:
        return all(_has_size(os.path.join(folder, file.path), file.size) for file in manifest.files)
    except OSError:
        return False


def _has_size(path: str, size: int) -> bool:
    """Of a link only its presence counts: what it points to may have changed since."""
    found = os.lstat(path)
    return stat.S_ISLNK(found.st_mode) or found.st_size == size


def _walk(folder: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    stack = [(str(folder), "")]
    while stack:
        place, prefix = stack.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append((entry.path, f"{prefix}{entry.name}/"))
                elif prefix or entry.name not in OWN_NAMES:
                    yield entry, prefix + entry.name


def _settle_link(entry: os.DirEntry[str], path: str, roots: Collection[str]) -> None:
    """Makes an absolute link into the folder relative. Raises NodeError: a relative one leads out of it.

    roots: the names of the folder. path: of the link, relative to the folder.
    """
    target, above = os.readlink(entry.path), os.path.dirname(path)
    if not os.path.isabs(target):
        if os.path.normpath(os.path.join(above, target)).split("/")[0] == "..":
            raise NodeError(
                f"{entry.path}: leads out of the output by a relative path, which is wrong once that was moved.",
                hint="Make it an absolute link, or copy the file.",
            )
        return
    names = (
        os.path.normpath(target),
        os.path.join(os.path.realpath(os.path.dirname(target)), os.path.basename(target)),
    )
    for name, root in itertools.product(names, roots):
        if name == root or name.startswith(f"{root}/"):
            partial = f"{entry.path}.relative"
            os.symlink(os.path.relpath(name, os.path.join(root, above)), partial)
            os.replace(partial, entry.path)
            return


def _describe(entry: os.DirEntry[str], path: str, known: Mapping[str, str]) -> ManifestFile:
    try:
        digest = known.get(path)
        if digest is not None and entry.is_symlink():
            # A relative link is made for where the folder will lie, so it may lead nowhere yet.
            return ManifestFile(path, 0, digest)
        if entry.is_symlink() and entry.is_dir():
            return ManifestFile(
                path, 0, digest or bytes_digest(os.readlink(entry.path).encode(errors="surrogateescape"))
            )
        found = entry.stat()
        if not stat.S_ISREG(found.st_mode):
            raise NodeError(f"{entry.path}: is neither a file nor a folder; an output holds nothing else.")
        size = found.st_size
        return ManifestFile(path, size, digest or file_digest(entry.path))
    except OSError as error:
        raise NodeError(f"{entry.path}: cannot be read ({error.strerror or error}).") from error
