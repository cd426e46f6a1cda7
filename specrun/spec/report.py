"""Collects every mistake of a spec, so that all are shown in one go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from specrun.errors import SpecError
from specrun.model.diagnostic import Diagnostic, Position, Severity

MASK = "***"
_SECRET_WORD = r"(?:pass(?:w(?:or)?d|phrase)?|pas+wor[dt]|secret|token|api_?key|access_?key|credentials?)"
_SECRET_LITERAL = re.compile(
    rf"""(?ix)
    (?P<key> [\w-]*{_SECRET_WORD}["']? \s*+ [:=] \s*+ )
    (?! [\[{{|>&*] | \$\{{ | null\b | true\b | false\b | $ )
    (?P<value> "(?:[^"\\]|\\.)*"? | '[^']*'? | [^,}}\]#]+ | .+ )
    """
)


class Report:
    """sources: file as the user named it → its lines."""

    def __init__(self) -> None:
        self.sources: dict[str, Sequence[str]] = {}
        self._found: dict[Diagnostic, None] = {}
        self._secret_starts: set[tuple[str, int, int]] = set()

    def error(
        self,
        where: Position | None,
        message: str,
        hint: str | None = None,
        *,
        related: Sequence[Position] = (),
    ) -> None:
        self._add(Diagnostic(where, message, hint, related=tuple(related)))

    def warning(
        self, where: Position | None, message: str, hint: str | None = None, *, related: Sequence[Position] = ()
    ) -> None:
        self._add(Diagnostic(where, message, hint, Severity.WARNING, related=tuple(related)))

    def hide(self, where: Position) -> None:
        """A secret stands there: no diagnostic shows the line from this column on."""
        self._secret_starts.add((where.file, where.line, where.column))

    @property
    def failed(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self._found)

    def diagnostics(self, severity: Severity | None = None) -> tuple[Diagnostic, ...]:
        """In the order of the files, each with its source line."""
        order = {file: index for index, file in enumerate(self.sources)}
        chosen = [d for d in self._found if severity is None or d.severity is severity]

        def key(diagnostic: Diagnostic) -> tuple[int, int, int]:
            where = diagnostic.where
            return (order.get(where.file, len(order)), where.line, where.column) if where else (-1, 0, 0)

        return tuple(replace(d, source_line=self._line(d.where)) for d in sorted(chosen, key=key))

    def raise_errors(self) -> None:
        """Raises SpecError with everything found, when any of it is an error."""
        if self.failed:
            raise SpecError(self.diagnostics())

    def _add(self, diagnostic: Diagnostic) -> None:
        """The instances of a matrix repeat their mistakes: each is kept once."""
        if diagnostic.hint and diagnostic.message[-1] not in ".!?":
            diagnostic = replace(diagnostic, message=f"{diagnostic.message}.")
        self._found[diagnostic] = None

    def _line(self, where: Position | None) -> str | None:
        if where is None:
            return None
        lines = self.sources.get(where.file, ())
        if max(where.line, 1) > len(lines):
            return None
        line = lines[max(where.line, 1) - 1]
        hidden = [column for file, number, column in self._secret_starts if (file, number) == (where.file, where.line)]
        shown = without_secrets(line[: min(hidden) - 1] + MASK if hidden else line)
        # Behind a mask the caret would point at the wrong word.
        return shown if shown[: where.column - 1] == line[: where.column - 1] else None


def without_secrets(line: str) -> str:
    """A source line as it may be shown: what looks like a literal password or token is masked."""
    return _SECRET_LITERAL.sub(lambda found: f"{found['key']}{MASK}", line)
