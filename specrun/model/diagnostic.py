"""A mistake in a file that a person wrote, with the place to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """file: as the user named it; line and column count from 1; length in characters.

    Line 0: the place is not a file but a word of the command line, and `file` says which (`--set a.b`).
    """

    file: str
    line: int
    column: int = 1
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    @property
    def short(self) -> str:
        """`project.yaml:61`, as the plan names it."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """*where: what is wrong. what to do*, with the source line for the caret."""

    where: Position | None
    message: str
    hint: str | None = None
    severity: Severity = Severity.ERROR
    source_line: str | None = None
    related: tuple[Position, ...] = ()

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        note = "warning: " if self.severity is Severity.WARNING else ""
        return f"{place}{note}{self.message}" + (f" {self.hint}" if self.hint else "")
