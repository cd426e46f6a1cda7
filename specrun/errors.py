"""Everything that can go wrong, and the exit code that says so.

    SpecrunError
    ├── SpecError             2  the spec is wrong (carries every diagnostic)
    ├── UsageError            2  the command line is wrong
    ├── StateError            3  what specrun wrote itself cannot be read
    ├── LockedError           4  another run holds the project
    ├── PlanOutdated          7  the saved plan no longer fits the world
    ├── ApprovalMissing       7  a node writes outside the machine and nobody can be asked
    └── NodeError             1  the work of one node failed
        ├── FormatError       1  a file is not what its format says
        ├── MissingDependency 1  an extra or a system library is not installed
        ├── OutOfMemory       1  never retried: the settings must change
        ├── CredentialsError  5  refused by a server; never retried
        ├── WaitingForPeople  6  annotation work is owed; not a failure
        ├── TransientError    1  worth the node's own retries (network, a busy server)
        └── StopRequested   130  the run was asked to stop; staging stays for a resume

Messages follow *where: what is wrong, what to do*. They are rendered in one place, the CLI.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees; when several hold: 3, 1, 5, 6."""

    DONE = 0
    NODE_FAILED = 1
    WRONG_INPUT = 2
    OUR_FAULT = 3
    LOCKED = 4
    CREDENTIALS = 5
    WAITING = 6
    NO_APPROVAL = 7
    CHANGES = 10
    INTERRUPTED = 130
    TERMINATED = 143


class SpecrunError(Exception):
    """An expected failure with a message for people and, where there is one, a remedy."""

    exit_code = ExitCode.NODE_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class SpecError(SpecrunError):
    """The spec has mistakes; `diagnostics` holds all of them (model.diagnostic.Diagnostic)."""

    exit_code = ExitCode.WRONG_INPUT

    def __init__(self, diagnostics: Sequence[object]) -> None:
        super().__init__("\n".join(str(d) for d in diagnostics))
        self.diagnostics = tuple(diagnostics)


class UsageError(SpecrunError):
    exit_code = ExitCode.WRONG_INPUT


class StateError(SpecrunError):
    exit_code = ExitCode.OUR_FAULT


class LockedError(SpecrunError):
    exit_code = ExitCode.LOCKED


class PlanOutdated(SpecrunError):
    exit_code = ExitCode.NO_APPROVAL


class ApprovalMissing(SpecrunError):
    exit_code = ExitCode.NO_APPROVAL


class NodeError(SpecrunError):
    """Raised inside a worker; the message becomes NodeFailed.cause, the hint NodeFailed.hint."""


class FormatError(NodeError):
    pass


class MissingDependency(NodeError):
    pass


class OutOfMemory(NodeError):
    pass


class CredentialsError(NodeError):
    exit_code = ExitCode.CREDENTIALS


class WaitingForPeople(NodeError):
    exit_code = ExitCode.WAITING


class TransientError(NodeError):
    pass


class StopRequested(NodeError):
    exit_code = ExitCode.INTERRUPTED
