"""Environment variables as a spec sees them: the process, then `.env.local`, then `.env` beside the spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from specrun.model.diagnostic import Position
from specrun.spec.report import Report

ENV_FILES = (".env", ".env.local")
"""Later ones win; the process environment wins over both."""
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<text>.*?)(?<!\\)(?P=quote)\s*(#.*)?$""")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}


class Environment:
    """Remembers which variables were asked for, so that a compiled spec is kept while they hold.

    used: name → value, or None where it was not set.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.used: dict[str, str | None] = {}

    def get(self, name: str) -> str | None:
        value = self._values.get(name)
        self.used[name] = value
        return value


def with_env_files(folder: Path, environ: Mapping[str, str], report: Report | None = None) -> dict[str, str]:
    """The process environment over the files' values. Lines that are no `NAME=value` are reported."""
    values: dict[str, str] = {}
    for name in ENV_FILES:
        path = folder / name
        try:
            text = path.read_text("utf-8-sig")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            if report:
                report.error(None, f"{path}: cannot be read: {error}")
            continue
        values.update(parse_env(text, str(path), report))
    return {**values, **environ}


def parse_env(text: str, file: str, report: Report | None = None) -> dict[str, str]:
    """`NAME=value` lines; `export`, comments and quotes as shells have them, no expansion."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None:
            if report:
                # Without the source line: it may hold a secret.
                report.error(Position(file, number), "this line is no NAME=value", "Start a comment with #.")
            continue
        values[found[1]] = _env_value(found[2])
    return values


def _env_value(text: str) -> str:
    quoted = _QUOTED.match(text)
    if quoted is None:
        return re.split(r"\s+#", text, maxsplit=1)[0] if not text.startswith("#") else ""
    if quoted["quote"] == "'":
        return quoted["text"]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), quoted["text"])
