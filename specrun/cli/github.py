"""Under GitHub Actions a line on standard output may be a command to it: only ours shall be."""

from __future__ import annotations

import os
import re

# `::command::` at the beginning of a line, after spaces too; `##[command]` anywhere in it.
_COMMAND = re.compile(r"^([^\S\n]*:)(?=:)|##(?=\[)", re.MULTILINE)


def on_github() -> bool:
    return bool(os.environ.get("GITHUB_ACTIONS"))


def as_text(text: str) -> str:
    """Names, causes and logs in it are no commands to GitHub. Elsewhere it stays as it is."""
    return _COMMAND.sub(lambda found: f"{found[0]} ", text) if on_github() else text
