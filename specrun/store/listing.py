"""What lies in a folder, by content, without reading again what was read before.

A walk gives one digest over all names and stats. While that equals the stored one, so does the listing. Otherwise each
file is looked up by itself (size, mtime, ctime, inode), and only what is new is read. As in git, a file that changed
less than two seconds before it was read is read again next time: within the clock's grain it can change unnoticed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG

from specrun.errors import NodeError
from specrun.model.digest import file_digest, files_digest
from specrun.model.work import Listing
from specrun.store.cache import CacheDatabase, Known
from specrun.store.filesystem import on_network
from specrun.store.patterns import EVERYTHING
from specrun.store.walk import Walked, stamp_of, walk

RACY_NS = 2_000_000_000
_UNSURE = ""
_READ_CHUNK = 64


class ListingCache:
    """Threads may share one. hash_file: reads a file; clock_ns: the time by which files are stamped."""

    def __init__(
        self,
        cache_db: Path,
        *,
        hash_file: Callable[[str], str] = file_digest,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = CacheDatabase(cache_db)
        self._hash_file = hash_file
        self._clock_ns = clock_ns
        self._networks: dict[int, bool] = {}

    def close(self) -> None:
        self._database.close()

    def listing(
        self,
        folder: Path,
        include: Sequence[str] = EVERYTHING,
        exclude: Sequence[str] = (),
        *,
        with_files: bool = True,
        since: Collection[str] = (),
    ) -> Listing:
        """The files of a folder that `include` covers and `exclude` does not; see store.patterns.

        with_files: False leaves `files` empty, which spares 0.1 s for 100,000 files.
        since: digests among which the one of an earlier listing may be; if its files are still known,
        added, removed and changed say how they differ.
        Raises NodeError: no such folder, or a file that cannot be read.
        """
        key = json.dumps([os.path.abspath(folder), list(include), list(exclude)])
        walked = walk(folder, include, exclude)
        stat = walked.digest
        found = self._database.by_stat(key, stat) or self._look_closer(key, stat, walked, folder)
        differs = bool(since) and found.digest not in since
        if (with_files or differs) and found.count and not found.files:
            found = self._content(key, found)
        if differs:
            found = self._compare(key, found, since)
        return found if with_files else replace(found, files=())

    def file_digest(self, path: Path) -> str | None:
        """Digest of one file's content; None: there is no such file. Raises NodeError: it cannot be read."""
        return self.file_digests([path])[path]

    def file_digests(self, paths: Sequence[Path]) -> dict[Path, str | None]:
        """As `file_digest`, for many files at the price of one question to the cache."""
        found: dict[Path, str | None] = dict.fromkeys(paths)
        by_device: dict[int, list[tuple[str, int, str]]] = {}
        for path in found:
            try:
                stat = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not S_ISREG(stat.st_mode):
                continue
            stamp = _believed(stamp_of(stat), self._on_network(stat.st_dev, path))
            by_device.setdefault(stat.st_dev, []).append((str(path), stat.st_size, stamp))
        for device, files in by_device.items():
            known = self._read_new(files, device)
            found.update((path, entry[2]) for path in found if (entry := known.get(str(path))))
        return found

    def _on_network(self, device: int, path: Path) -> bool:
        if device not in self._networks:
            self._networks[device] = on_network(path)
        return self._networks[device]

    def _look_closer(self, key: str, stat: str, walked: Walked, folder: Path) -> Listing:
        network = on_network(folder)
        before = self._database.newest(key)
        known: Known = {}
        new: list[tuple[str, int, str]] = []
        for path, size, stamp in walked.files():
            stamp = _believed(stamp, network)
            entry = before.get(path)
            if entry and entry[:2] == (size, stamp):
                known[path] = entry
            else:
                new.append((os.path.join(folder, path), size, stamp))
        read = self._read_new(new, folder.stat().st_dev)
        start = len(os.path.join(folder, ""))
        known.update((place[start:], entry) for place, entry in read.items())
        known = dict(sorted(known.items()))
        listing = _listing(known)
        sure = len(read) == len(new) and all(stamp != _UNSURE for _, stamp, _ in read.values())
        self._database.put_listing(key, listing, stat if sure else None, known, self._clock_ns() / 1e9)
        return listing

    def _read_new(self, files: list[tuple[str, int, str]], device: int) -> Known:
        """By path as it was given; what vanished meanwhile is left out."""
        shared = self._database.hashes(_file_key(*file, device) for file in files)
        found: Known = {}
        unknown = []
        for place, size, stamp in files:
            entry = shared.get(_file_key(place, size, stamp, device))
            if entry and entry[:2] == (size, stamp):
                found[place] = entry
            else:
                unknown.append((place, size, stamp))
        sure: Known = {}
        for (place, size, stamp), (digest, started_ns) in zip(unknown, self._read_all(unknown), strict=True):
            if digest is None:
                continue
            if self._is_racy(stamp, started_ns):
                found[place] = (size, _UNSURE, digest)
            else:
                found[place] = sure[_file_key(place, size, stamp, device)] = (size, stamp, digest)
        if sure:
            self._database.put_hashes(sure)
        return found

    def _is_racy(self, stamp: str, started_ns: int) -> bool:
        """A time in the future is believed: writing now would set another one."""
        times = (int(time_ns) for time_ns in stamp.split(":")[:2])
        return any(started_ns - RACY_NS <= time_ns <= started_ns + RACY_NS for time_ns in times)

    def _read_all(self, files: list[tuple[str, int, str]]) -> list[tuple[str | None, int]]:
        """Digest, None if it vanished, and when reading began. In threads: reading and hashing let go of the
        interpreter."""
        if len(files) <= _READ_CHUNK:
            return [self._read(place) for place, _, _ in files]
        chunks = [files[start : start + _READ_CHUNK] for start in range(0, len(files), _READ_CHUNK)]
        with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
            done = threads.map(lambda chunk: [self._read(place) for place, _, _ in chunk], chunks)
            return [result for results in done for result in results]

    def _read(self, place: str) -> tuple[str | None, int]:
        started_ns = self._clock_ns()
        try:
            return self._hash_file(place), started_ns
        except FileNotFoundError:
            return None, started_ns
        except OSError as error:
            raise NodeError(f"{place}: cannot be read ({error.strerror}).") from error

    def _content(self, key: str, listing: Listing) -> Listing:
        known = self._database.content(key, listing.digest) or {}
        return replace(listing, files=_listing_files(known))

    def _compare(self, key: str, listing: Listing, since: Collection[str]) -> Listing:
        contents = (self._database.content(key, digest) for digest in since)
        before = next((known for known in contents if known is not None), None)
        if before is None:
            return listing
        now = {path: digest for path, _, digest in listing.files}
        return replace(
            listing,
            added=tuple(path for path in now if path not in before),
            removed=tuple(path for path in before if path not in now),
            changed=tuple(path for path, digest in now.items() if path in before and before[path][2] != digest),
        )


def _listing(known: Known) -> Listing:
    files = _listing_files(known)
    digest = files_digest((path, digest) for path, _, digest in files)
    return Listing(digest, len(files), sum(size for _, size, _ in files), files)


def _listing_files(known: Known) -> tuple[tuple[str, int, str], ...]:
    return tuple((path, size, digest) for path, (size, _, digest) in known.items())


def _believed(stamp: str, network: bool) -> str:
    """Network file systems may invent inodes anew each time."""
    return stamp.rpartition(":")[0] if network else stamp


def _file_key(place: str, size: int, stamp: str, device: int) -> str:
    """The inode follows a file whose folder is renamed, and is the same by every way that leads to it."""
    inode = stamp.split(":")[2:]
    return f"{device:x}:{inode[0]}" if inode else place
