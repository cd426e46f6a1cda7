"""What was made last time, and what the world says now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from specrun.errors import CredentialsError, ExitCode, NodeError
from specrun.model.address import Address
from specrun.model.digest import Json


@dataclass(frozen=True, slots=True)
class Observation:
    """What the world says about one node, cheaply asked and read-only.

    value: compared with the recorded one; differing makes the node stale.
    differences: what changed since the recorded value, one readable line each.
    parts: live digests by part, for outputs that people change by hand (FiftyOne datasets);
        None: the recorded ones hold.
    part_changes: readable differences by part, for the reasons of consumers.
    missing: what people still owe; not empty makes the node wait.
    notes: what a person should know of it although it makes nothing stale, for the plan.
    foreseen: the same of a run that is to come; said where the node runs only.
    """

    value: Json = None
    differences: tuple[str, ...] = ()
    parts: Mapping[str, str] | None = None
    part_changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    foreseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why a node could not be observed; exit_code: of the error that said so."""

    cause: str
    hint: str = ""
    exit_code: int = int(ExitCode.NODE_FAILED)

    def as_error(self) -> NodeError:
        refused = self.exit_code == ExitCode.CREDENTIALS
        return (CredentialsError if refused else NodeError)(self.cause, hint=self.hint or None)


PASSING_NOTES = "passing_notes"
"""A fact: those of the notes that say what one run did, and no plan repeats."""


class Outcome(StrEnum):
    """How the last attempt at a node ended."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A row of the state: the last time this node was made.

    folder: posix path relative to the output root. inputs: role → (address, digest of what was read).
    parts: digest by part of the output. accepted: the reason given to `specrun accept`.
    """

    address: Address
    kind: str
    kind_version: int
    fingerprint: str
    result_config: Mapping[str, Json]
    inputs: Mapping[str, str]
    observation: Json
    digest: str
    parts: Mapping[str, str]
    facts: Mapping[str, Json]
    folder: str
    run: str
    made_at: str
    duration_s: float
    notes: tuple[str, ...] = ()
    accepted: str | None = None

    @property
    def lasting_notes(self) -> tuple[str, ...]:
        """What is still worth saying after the run that made it."""
        passing = self.facts.get(PASSING_NOTES)
        return tuple(note for note in self.notes if note not in passing) if isinstance(passing, list) else self.notes


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last attempt that did not end well; staging lies where the fingerprint says."""

    address: Address
    outcome: Outcome
    fingerprint: str
    run: str
    at: str
    cause: str
    resume: Json = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One apply. status: running | done | failed | waiting | interrupted | crashed."""

    id: str
    started_at: str
    ended_at: str | None
    status: str
    exit_code: int | None
    pid: int | None
    done: int = 0
    total: int = 0
