"""How the nodes of a run ended, and the exit code that follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from specrun.errors import CredentialsError, ExitCode, SpecrunError
from specrun.run.request import Result


@dataclass
class Tally:
    """How the nodes of a run ended. codes: exit codes of the failed ones."""

    finished: int = 0
    unchanged: int = 0
    failed: int = 0
    skipped: int = 0
    waiting: int = 0
    codes: list[int] = field(default_factory=list)


def failure(error: SpecrunError) -> Result:
    return Result(
        ok=False,
        error=type(error).__name__,
        cause=error.message,
        hint=error.hint or "",
        exit_code=error.exit_code,
    )


def exit_code(tally: Tally, *, stopped_by: ExitCode | None) -> ExitCode:
    """The highest of what holds: interrupted, then 3, 1, 5 (only if nothing else failed), 6."""
    if stopped_by is not None:
        return stopped_by
    if ExitCode.OUR_FAULT in tally.codes:
        return ExitCode.OUR_FAULT
    if tally.codes:
        all_refused = all(code == CredentialsError.exit_code for code in tally.codes)
        return ExitCode.CREDENTIALS if all_refused else ExitCode.NODE_FAILED
    return ExitCode.WAITING if tally.waiting else ExitCode.DONE
