"""What was made last time, durably: `.specrun/state.db`.

A commit has reached the disk when it returns (synchronous=FULL). WAL, so that a plan reads while a run writes;
on network file systems a rollback journal instead, because WAL needs memory shared between all its users.
Several processes write (workers `remember` while the supervisor records), so every write takes the lock at
its start (BEGIN IMMEDIATE) and waits for the others.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from specrun.errors import StateError
from specrun.model.address import Address, parse_address
from specrun.model.digest import DIGEST_BYTES, Json
from specrun.model.state import Attempt, NodeRecord, RunRecord
from specrun.store import rows, schema
from specrun.store.filesystem import on_network
from specrun.store.paths import create_state_dir
from specrun.store.rows import Earlier, Intent, address_key

BUSY_TIMEOUT_S = 60.0
_UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)

T = TypeVar("T")


class State:
    """Open with `State.open`; also a context manager that closes. Threads may share one State."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S) -> State:
        """Creates the database with its folder unless read_only; then a missing one reads as empty.

        Raises StateError: damaged, written by a newer specrun, or not accessible.
        """
        with _explained(path):
            if read_only:
                return cls(_open_read_only(path, busy_timeout_s), path)
            create_state_dir(path.parent)
            return cls(_open_writable(path, busy_timeout_s), path)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> State:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside reach the disk together, or none does. One inside another joins it."""
        with self._lock, _explained(self._path):
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            else:
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            finally:
                self._depth -= 1

    def records(self) -> dict[Address, NodeRecord]:
        found = (rows.record_from_json(data) for data in self._rows("SELECT data FROM nodes ORDER BY address"))
        return {record.address: record for record in found}

    def record(self, address: Address) -> NodeRecord | None:
        found = self._rows("SELECT data FROM nodes WHERE address = ?", address.text)
        return rows.record_from_json(found[0]) if found else None

    def nested(self, address: Address) -> tuple[Address, ...]:
        """Recorded nodes whose folders lie in or around this one's: left by a matrix that was there, or was not."""
        around = [Address(address.section, address.name, address.instance[:n]) for n in range(len(address.instance))]
        inside = address.text[:-1] + "," if address.instance else address.text + "["
        beyond = inside[:-1] + chr(ord(inside[-1]) + 1)
        with self._lock, _explained(self._path):
            found = self._connection.execute(
                "SELECT address FROM nodes WHERE address >= ? AND address < ? ORDER BY address", (inside, beyond)
            ).fetchall()
        return (*filter(self.record, around), *(parse_address(text) for (text,) in found))

    def attempts(self) -> dict[Address, Attempt]:
        found = (rows.attempt_from_json(data) for data in self._rows("SELECT data FROM attempts ORDER BY address"))
        return {attempt.address: attempt for attempt in found}

    def put_record(self, record: NodeRecord) -> None:
        """The node is made: whatever was left of attempts and of publishing it is done with."""
        key = record.address.text
        with self.transaction():
            self._put("nodes", key, rows.record_to_json(record))
            self._connection.execute("DELETE FROM attempts WHERE address = ?", (key,))
            self._connection.execute("DELETE FROM intents WHERE address = ?", (key,))

    def put_records(self, records: Iterable[NodeRecord]) -> None:
        """In one commit."""
        with self.transaction():
            for record in records:
                self.put_record(record)

    def put_attempt(self, attempt: Attempt) -> None:
        with self.transaction():
            self._put("attempts", attempt.address.text, rows.attempt_to_json(attempt))

    def forget(self, address: Address) -> None:
        """Drops record, attempt and earlier outputs; what the node remembers (ids of things made elsewhere) stays."""
        with self.transaction():
            for table in ("nodes", "attempts", "intents", "earlier"):
                self._connection.execute(f"DELETE FROM {table} WHERE address = ?", (address.text,))

    def digest(self) -> str:
        """Digest of what a plan depends on: records and attempts."""
        found = hashlib.blake2b(digest_size=DIGEST_BYTES)
        with self._lock, _explained(self._path):
            for table in ("nodes", "attempts"):
                for address, data in self._connection.execute(f"SELECT address, data FROM {table} ORDER BY address"):
                    found.update(f"{table}\0{address}\0{data}\n".encode())
        return found.hexdigest()

    def remember(self, address: Address | str, key: str, value: Json) -> None:
        """Durable before it returns; from any process."""
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", (address_key(address), key, rows.dump(value))
            )

    def recall(self, address: Address | str, key: str) -> Json:
        """None: never remembered."""
        found = self._rows("SELECT value FROM memory WHERE address = ? AND key = ?", address_key(address), key)
        value: Json = found[0] if found else None
        return value

    def recall_all(self, address: Address | str) -> dict[str, Json]:
        """Everything that a node remembers."""
        with self._lock, _explained(self._path):
            found = self._connection.execute(
                "SELECT key, value FROM memory WHERE address = ? ORDER BY key", (address_key(address),)
            ).fetchall()
        return {key: json.loads(value) for key, value in found}

    def put_run(self, run: RunRecord) -> None:
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?)",
                (run.id, run.started_at, rows.dump(rows.run_to_json(run))),
            )

    def runs(self) -> tuple[RunRecord, ...]:
        """Newest first."""
        found = self._rows("SELECT data FROM runs ORDER BY started_at DESC, id DESC")
        return tuple(rows.run_from_json(data) for data in found)

    def mark_crashed_runs(self, *, now: str | None = None) -> tuple[str, ...]:
        """Runs without an end are interrupted; returns their ids. Under the project lock, before a new run is put.

        now: ISO 8601; None: the time of this moment.
        """
        ended_at = now or datetime.now(UTC).isoformat(timespec="milliseconds")
        with self.transaction():
            crashed = [run for run in self.runs() if run.ended_at is None]
            for run in crashed:
                self.put_run(replace(run, status="interrupted", ended_at=ended_at))
        return tuple(run.id for run in crashed)

    def put_intent(self, intent: Intent) -> None:
        with self.transaction():
            self._put("intents", intent.record.address.text, rows.intent_to_json(intent))

    def intents(self) -> tuple[Intent, ...]:
        return tuple(rows.intent_from_json(data) for data in self._rows("SELECT data FROM intents ORDER BY address"))

    def drop_intent(self, address: Address) -> None:
        with self.transaction():
            self._connection.execute("DELETE FROM intents WHERE address = ?", (address.text,))

    def put_earlier(self, earlier: Earlier) -> None:
        key, data = earlier.record.address.text, rows.dump(rows.record_to_json(earlier.record))
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO earlier VALUES (?, ?, ?, ?)", (key, earlier.folder, earlier.kept_at, data)
            )

    def earlier(self, address: Address | None = None) -> tuple[Earlier, ...]:
        """Kept earlier outputs of one node, newest first; None: of all nodes."""
        where, values = ("", ()) if address is None else ("AND address = ?", (address.text,))
        order = "ORDER BY address, kept_at DESC, rowid DESC"
        query = f"SELECT data, folder, kept_at FROM earlier WHERE kept_at != '' {where} {order}"
        with self._lock, _explained(self._path):
            found = self._connection.execute(query, values).fetchall()
        return tuple(rows.earlier_from_json(json.loads(data), folder, at) for data, folder, at in found)

    def give_up_earlier(self, address: Address, folder: str) -> None:
        """No longer counted; the state knows its folder until it is dropped, so that it can be deleted."""
        with self.transaction():
            self._connection.execute(
                "UPDATE earlier SET kept_at = '' WHERE address = ? AND folder = ?", (address.text, folder)
            )

    def given_up(self) -> dict[str, Address]:
        """Folders of earlier outputs that no longer count."""
        with self._lock, _explained(self._path):
            found = self._connection.execute("SELECT folder, address FROM earlier WHERE kept_at = ''").fetchall()
        return {folder: parse_address(address) for folder, address in found}

    def drop_earlier(self, address: Address, folder: str) -> None:
        with self.transaction():
            self._connection.execute("DELETE FROM earlier WHERE address = ? AND folder = ?", (address.text, folder))

    def _put(self, table: str, key: str, data: dict[str, Any]) -> None:
        self._connection.execute(
            f"INSERT OR REPLACE INTO {table} (address, data) VALUES (?, ?)", (key, rows.dump(data))
        )

    def _rows(self, query: str, *values: str) -> list[Any]:
        """The first column of every row, parsed: one json.loads for all rows is what makes it fast."""
        with self._lock, _explained(self._path):
            texts = [text for (text,) in self._connection.execute(query, values)]
            return json.loads(f"[{','.join(texts)}]")  # type: ignore[no-any-return]


def _open_writable(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        wanted = "delete" if on_network(path) else "wal"
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
            _patiently(lambda: connection.execute(f"PRAGMA journal_mode={wanted}").fetchone())
        connection.execute("PRAGMA synchronous=FULL")
        schema.migrate(connection, str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _open_read_only(path: Path, busy_timeout_s: float) -> sqlite3.Connection:
    if not path.exists():
        empty = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        schema.migrate(empty, str(path))
        return empty
    try:
        connection, found = _connect_read_only(path, busy_timeout_s)
    except sqlite3.OperationalError as error:
        # WAL wants to make its -shm file. Without a log, the database alone says everything, and nobody can write it.
        if error.sqlite_errorcode & 0xFF not in _UNWRITABLE or _holds_log(path):
            raise
        connection, found = _connect_read_only(path, busy_timeout_s, "&immutable=1")
    if found < schema.VERSION:
        connection.close()
        return _open_writable(path, busy_timeout_s)
    return connection


def _connect_read_only(path: Path, busy_timeout_s: float, options: str = "") -> tuple[sqlite3.Connection, int]:
    """Also the version of its schema."""
    uri = f"{path.resolve().as_uri()}?mode=ro{options}"
    connection = sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        found = schema.schema_version(connection)
        schema.check_version(found, str(path))
    except BaseException:
        connection.close()
        raise
    return connection, found


def _holds_log(path: Path) -> bool:
    log = Path(f"{path}-wal")
    return log.exists() and log.stat().st_size > 0


def _patiently(action: Callable[[], T], attempts: int = 50, wait: Callable[[float], object] | None = None) -> T:
    """SQLite does not wait by itself when two processes switch the journal mode at once."""
    pause = wait or threading.Event().wait
    for _ in range(attempts):
        try:
            return action()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            pause(0.05)
    return action()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as StateError, with the file and what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text:
            message, hint = "another process has been writing to it for too long.", "See who with `specrun unlock`."
        elif "full" in text:
            message, hint = "the disk is full.", "Make room and run the command again; nothing was lost."
        elif "readonly" in text or "unable to open" in text:
            message, hint = (
                f"cannot be opened for writing ({text}).",
                "Check the owner and the permissions of its folder.",
            )
        else:
            message, hint = f"{text}.", _DAMAGED
        raise StateError(f"{path}: {message}", hint=hint) from error
    except sqlite3.DatabaseError as error:
        raise StateError(f"{path}: damaged ({error}).", hint=_DAMAGED) from error


_DAMAGED = (
    "Nothing was deleted. Restore it from a backup, or move it away with its -wal and -shm files: "
    "the next apply then takes in every output whose manifest still fits."
)
