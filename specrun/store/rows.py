"""Rows of the state: JSON of records, attempts, runs, and of what publishing must remember.

One JSON column a row: reading a thousand records is one json.loads, a new field needs no ALTER TABLE,
and `sqlite3 .specrun/state.db 'select * from nodes'` stays readable. Rejected: a column a field
(thirteen of seventeen are JSON themselves, and each would need its own loads).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specrun.model.address import Address, parse_address
from specrun.model.state import Attempt, NodeRecord, Outcome, RunRecord


@dataclass(frozen=True, slots=True)
class Intent:
    """A move that was begun: `staging` is to become the output of `record.address`.

    Paths are posix, relative to the output root. manifest: digest of the bytes of the manifest in staging,
    by which the folder is known wherever it lies. aside: where the output of before goes.
    old: the record of that output; it becomes an earlier output when `aside` is kept, else None.
    restored: the kept folder that a rollback takes out of the earlier ones (it is `staging` then), else "".
    """

    record: NodeRecord
    staging: str
    output: str
    aside: str
    manifest: str
    old: NodeRecord | None
    keep: int
    restored: str
    at: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier output that was kept. folder: posix, relative to the output root."""

    record: NodeRecord
    folder: str
    kept_at: str


def dump(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_plain)
    # A lone surrogate, from a file name that is no UTF-8, becomes \udcXX: SQLite takes no other.
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def record_to_json(record: NodeRecord) -> dict[str, Any]:
    return {
        "address": record.address.text,
        "kind": record.kind,
        "kind_version": record.kind_version,
        "fingerprint": record.fingerprint,
        "result_config": record.result_config,
        "inputs": record.inputs,
        "observation": record.observation,
        "digest": record.digest,
        "parts": record.parts,
        "facts": record.facts,
        "folder": record.folder,
        "run": record.run,
        "made_at": record.made_at,
        "duration_s": record.duration_s,
        "notes": record.notes,
        "accepted": record.accepted,
    }


def record_from_json(data: dict[str, Any]) -> NodeRecord:
    data["address"] = parse_address(data["address"])
    data["notes"] = tuple(data["notes"])
    return NodeRecord(**data)


def attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "address": attempt.address.text,
        "outcome": attempt.outcome.value,
        "fingerprint": attempt.fingerprint,
        "run": attempt.run,
        "at": attempt.at,
        "cause": attempt.cause,
        "resume": attempt.resume,
    }


def attempt_from_json(data: dict[str, Any]) -> Attempt:
    return Attempt(**{**data, "address": parse_address(data["address"]), "outcome": Outcome(data["outcome"])})


def run_to_json(run: RunRecord) -> dict[str, Any]:
    return {name: getattr(run, name) for name in RunRecord.__slots__}


def run_from_json(data: dict[str, Any]) -> RunRecord:
    return RunRecord(**data)


def intent_to_json(intent: Intent) -> dict[str, Any]:
    data = {name: getattr(intent, name) for name in Intent.__slots__}
    data["record"] = record_to_json(intent.record)
    data["old"] = record_to_json(intent.old) if intent.old else None
    return data


def intent_from_json(data: dict[str, Any]) -> Intent:
    old = record_from_json(data["old"]) if data["old"] else None
    return Intent(**{**data, "record": record_from_json(data["record"]), "old": old})


def earlier_from_json(data: dict[str, Any], folder: str, kept_at: str) -> Earlier:
    return Earlier(record_from_json(data), folder, kept_at)


def address_key(address: Address | str) -> str:
    return address if isinstance(address, str) else address.text
