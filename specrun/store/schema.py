"""The schema of state.db, as the migrations that lead to it.

A newer version is refused: an older specrun would drop what it does not know. Migrations only ever go forward,
each in the transaction that records it.
"""

from __future__ import annotations

import sqlite3

from specrun.errors import StateError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE nodes (address TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE attempts (address TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE intents (address TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE earlier (address TEXT NOT NULL, folder TEXT NOT NULL, kept_at TEXT NOT NULL,"
        " data TEXT NOT NULL, PRIMARY KEY (address, folder))",
        "CREATE TABLE memory (address TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
        " PRIMARY KEY (address, key)) WITHOUT ROWID",
        "CREATE TABLE runs (id TEXT PRIMARY KEY, started_at TEXT NOT NULL, data TEXT NOT NULL) WITHOUT ROWID",
    ),
)
VERSION = len(MIGRATIONS)


def schema_version(connection: sqlite3.Connection) -> int:
    """0: a new, empty database."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").fetchone()
    if not found:
        return 0
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()[0])


def check_version(found: int, name: str) -> None:
    """Raises StateError: written by a newer specrun."""
    if found > VERSION:
        raise StateError(
            f"{name}: written by a newer specrun (schema {found}, this one knows {VERSION}).",
            hint="Install the newer specrun; nothing was changed.",
        )


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Brings a database up to date; several processes may do so at once."""
    found = schema_version(connection)
    check_version(found, name)
    if found == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY,"
            " applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )
        found = schema_version(connection)
        check_version(found, name)
        for version, statements in enumerate(MIGRATIONS[found:], start=found + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations (version) VALUES (?)", (version,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
