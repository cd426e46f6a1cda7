"""Zip archives from elsewhere, unpacked without trusting them.

Refused before a byte is written: links and special files, absolute and parent paths, drive letters, names with
control characters, two names that are the same on a file system that ignores case or normalises Unicode, a file
that is also a folder, encryption, more files or bytes than a data set has, and implausible ratios of unpacked
to packed size. While unpacking, a member that grows beyond the size it declared is refused.
"""

from __future__ import annotations

import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from specrun.errors import FormatError

_CHUNK_BYTES = 1 << 20
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Limits:
    """ratio: unpacked to packed, looked at from `ratio_from_bytes` on (empty masks pack very well)."""

    files: int = 2_000_000
    total_bytes: int = 2 << 40
    ratio: float = 200.0
    ratio_from_bytes: int = 64 << 20


def extract_archive(
    archive: Path,
    target: Path,
    *,
    limits: Limits = Limits(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Unpack a zip into a folder, which is made. progress: files done and in all.

    Raises FormatError: not a zip, damaged, or refused as the module says.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(members, archive, limits)
            for done, member in enumerate(members, start=1):
                _extract(opened, member, target, archive)
                progress(done, len(members))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FormatError(f"{archive}: not a readable zip archive ({error}).", hint="Export it again.") from error


def _check(members: Sequence[zipfile.ZipInfo], archive: Path, limits: Limits) -> None:
    unpacked = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > limits.files or unpacked > limits.total_bytes:
        raise FormatError(f"{archive}: {len(members)} files with {unpacked} bytes are more than specrun unpacks.")
    if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * max(packed, 1):
        raise FormatError(f"{archive}: unpacks to {unpacked / max(packed, 1):.0f} times its size, which is refused.")
    files: set[str] = set()
    folders: set[str] = set()
    for member in members:
        problem = _problem(member) or _collision(_folded(member.filename), files, folders)
        if problem:
            raise FormatError(f"{archive}: {member.filename!r} {problem}, which is refused.")


def _collision(name: str, files: set[str], folders: set[str]) -> str | None:
    """files and folders: names met so far, folded; both are added to."""
    parents = {"/".join(name.split("/")[:depth]) for depth in range(1, name.count("/") + 1)}
    if name in files or name in folders or parents & files:
        return "collides with another name"
    files.add(name)
    folders.update(parents)
    return None


def _problem(member: zipfile.ZipInfo) -> str | None:
    name = member.filename
    mode = stat.S_IFMT(member.external_attr >> 16)
    if mode not in (0, stat.S_IFREG):
        return "is a link or a special file"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if name.startswith("/") or "\\" in name or ":" in name.split("/")[0]:
        return "is an absolute path"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "leaves its folder"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "has control characters"
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, archive: Path) -> None:
    path = target.joinpath(*PurePosixPath(member.filename).parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(member) as source, open(path, "xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > member.file_size:
                raise FormatError(f"{archive}: {member.filename!r} is larger than it declares, which is refused.")
            file.write(chunk)
