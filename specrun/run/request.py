"""What a worker is told and what it answers: two JSON files in the node's folder of the run.

`request.json` is written before the worker hears of it and may be read again (by DDP ranks, by a
person). `result.json` appears by rename when the work is over; no result means the worker died.
Secrets are in neither: they travel over the worker's standard input.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specrun.errors import SpecrunError, WaitingForPeople
from specrun.model.address import parse_address
from specrun.model.artifact import Artifact
from specrun.model.digest import Json
from specrun.model.work import Made

REQUEST_NAME = "request.json"
RESULT_NAME = "result.json"
EVENTS_NAME = "events.jsonl"
LOG_NAME = "log.txt"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One attempt at one node. Paths are absolute. read: `role:address` → digest of what is read."""

    run: str
    address: str
    kind: str
    kind_version: int
    fingerprint: str
    config: Mapping[str, Json]
    result_config: Mapping[str, Json]
    staging: str
    output: str
    run_folder: str
    project_dir: str
    output_root: str
    state_dir: str
    seed: int
    declarations: Mapping[str, Json] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    read: Mapping[str, str] = field(default_factory=dict)
    observation: Json = None
    gpus: tuple[int, ...] = ()
    cpus: int = 1
    resumed: bool = False
    replaced: bool = False
    project_name: str = ""

    @property
    def path(self) -> Path:
        return Path(self.run_folder) / REQUEST_NAME

    def save(self) -> None:
        Path(self.run_folder).mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(vars(self), ensure_ascii=False))

    @classmethod
    def load(cls, path: Path) -> Request:
        data = json.loads(path.read_text())
        return cls(**{**data, "gpus": tuple(data["gpus"])})


@dataclass(frozen=True, kw_only=True)
class Result:
    """How the work ended. error: the class of errors.py (or `Exception`) when it failed."""

    ok: bool
    error: str = ""
    cause: str = ""
    hint: str = ""
    exit_code: int = 0
    missing: tuple[str, ...] = ()

    @classmethod
    def of_error(cls, error: SpecrunError) -> Result:
        """An expected failure; people who are waited for are named line by line."""
        missing = tuple(error.message.splitlines()) if isinstance(error, WaitingForPeople) else ()
        return cls(
            ok=False,
            error=type(error).__name__,
            cause=error.message,
            hint=error.hint or "",
            exit_code=int(error.exit_code),
            missing=missing,
        )

    def save(self, folder: Path) -> None:
        staged = folder / f".{RESULT_NAME}.{os.getpid()}"
        staged.write_text(json.dumps(vars(self), ensure_ascii=False))
        os.replace(staged, folder / RESULT_NAME)

    @classmethod
    def load(cls, folder: Path) -> Result | None:
        """None: the worker ended without an answer."""
        try:
            data = json.loads((folder / RESULT_NAME).read_text())
        except FileNotFoundError:
            return None
        return cls(**{**data, "missing": tuple(data["missing"])})


def made_to_json(made: Made) -> dict[str, Any]:
    return {
        "address": str(made.address),
        "kind": made.kind,
        "folder": str(made.folder),
        "digest": made.digest,
        "facts": dict(made.facts),
        "parts": dict(made.parts),
        "artifacts": [[a.name, a.type, a.place] for a in made.artifacts],
        "config": dict(made.config),
    }


def made_from_json(data: Mapping[str, Any]) -> Made:
    return Made(
        address=parse_address(data["address"]),
        kind=data["kind"],
        folder=Path(data["folder"]),
        digest=data["digest"],
        facts=data["facts"],
        parts=data["parts"],
        artifacts=tuple(Artifact(*row) for row in data["artifacts"]),
        config=data["config"],
    )
