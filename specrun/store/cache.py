"""`.specrun/cache.db`: digests of files that were read before. May be deleted at any time.

    listings(key, digest)   one content of one (folder, include, exclude); the last few are kept, so that
                            a plan can say which files differ from the recorded content
    hashes(file)            digest by device and inode (by path on network file systems), shared by all listings
    stamp                   see store.walk; "" is believed of no file

Not synced, shared by processes; one that is damaged or of another version is made anew, and where none can be
written (a read-only project) one in memory takes its place.
Rejected: a row a file (100,000 rows take 0.4 s to read, one compressed text 0.1 s).
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from specrun.model.work import Listing
from specrun.store.filesystem import on_network
from specrun.store.paths import create_state_dir

KEPT_CONTENTS = 4
_VERSION = 1
_BUSY_TIMEOUT_S = 10.0
_QUERY_VALUES = 900
_TABLES = (
    "CREATE TABLE IF NOT EXISTS listings (key TEXT, digest TEXT, stat TEXT, count INTEGER, size_bytes INTEGER,"
    " seen_at REAL, files BLOB, PRIMARY KEY (key, digest))",
    "CREATE TABLE IF NOT EXISTS hashes (file TEXT PRIMARY KEY, size INTEGER, stamp TEXT, digest TEXT) WITHOUT ROWID",
    f"PRAGMA user_version={_VERSION}",
)

Known = dict[str, tuple[int, str, str]]
"""Relative path or file key → size, stamp, digest; a folder's is sorted by path."""


class CacheDatabase:
    """Losing what it should keep is never an error: the files are read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection = _open(path)

    def close(self) -> None:
        self._connection.close()

    def by_stat(self, key: str, stat: str) -> Listing | None:
        """The listing, without its files, for which nothing was touched."""
        query = "SELECT digest, count, size_bytes FROM listings WHERE key = ? AND stat = ?"
        found = self._query(query, (key, stat))
        return Listing(*found[0]) if found else None

    def newest(self, key: str) -> Known:
        """Empty: never listed."""
        query = "SELECT files FROM listings WHERE key = ? ORDER BY seen_at DESC LIMIT 1"
        return next((_unpack(blob) for (blob,) in self._query(query, (key,))), {})

    def content(self, key: str, digest: str) -> Known | None:
        """The files that made a listing's digest; None: no longer known."""
        found = self._query("SELECT files FROM listings WHERE key = ? AND digest = ?", (key, digest))
        return _unpack(found[0][0]) if found else None

    def put_listing(self, key: str, listing: Listing, stat: str | None, known: Known, now: float) -> None:
        """stat None: some file must be read again next time, so no walk equals this one."""
        row = (key, listing.digest, stat, listing.count, listing.size_bytes, now, _pack(known))
        oldest = "SELECT digest FROM listings WHERE key = ? ORDER BY seen_at DESC LIMIT -1 OFFSET ?"
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO listings VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute(
                f"DELETE FROM listings WHERE key = ? AND digest IN ({oldest})", (key, key, KEPT_CONTENTS)
            )

    def hashes(self, files: Iterable[str]) -> Known:
        """By file key."""
        wanted = list(files)
        found: Known = {}
        for start in range(0, len(wanted), _QUERY_VALUES):
            some = wanted[start : start + _QUERY_VALUES]
            query = f"SELECT file, size, stamp, digest FROM hashes WHERE file IN ({','.join('?' * len(some))})"
            found.update((file, (size, stamp, digest)) for file, size, stamp, digest in self._query(query, tuple(some)))
        return found

    def put_hashes(self, known: Known) -> None:
        with self._writing() as connection:
            entries = ((file, *entry) for file, entry in known.items())
            connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", entries)

    def _query(self, query: str, values: tuple[str, ...]) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.DatabaseError:
                return []

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.DatabaseError:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    try:
        create_state_dir(path.parent)
        return _connect(path)
    except sqlite3.OperationalError:
        return _connect(None)
    except OSError:
        return _connect(None)
    except sqlite3.DatabaseError:
        _delete(path)
        return _connect(path)


def _connect(path: Path | None) -> sqlite3.Connection:
    place = ":memory:" if path is None else str(path)
    connection = sqlite3.connect(place, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"cache version {version}")
        if path is not None and not on_network(path):
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        if version != _VERSION:
            for statement in _TABLES:
                connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _pack(known: Known) -> bytes:
    fields = (f"{path}\0{size}\0{stamp}\0{digest}" for path, (size, stamp, digest) in known.items())
    return zlib.compress("\0".join(fields).encode("utf-8", "surrogateescape"), 1)


def _unpack(blob: bytes) -> Known:
    try:
        text = zlib.decompress(blob).decode("utf-8", "surrogateescape")
    except (zlib.error, UnicodeDecodeError):
        return {}
    if not text:
        return {}
    fields = iter(text.split("\0"))
    rows = zip(fields, fields, fields, fields, strict=True)
    return {path: (int(size), stamp, digest) for path, size, stamp, digest in rows}
