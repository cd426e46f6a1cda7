"""What `specrun doctor` found, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from specrun.errors import ExitCode, SpecrunError
from specrun.views.paint import Paint
from specrun.views.text import cells, clean, pad


class Verdict(StrEnum):
    FINE = "fine"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """about: an address of the spec, or `machine`. exit_code: of something wrong."""

    about: str
    what: str
    verdict: Verdict
    text: str
    hint: str = ""
    exit_code: int = int(ExitCode.NODE_FAILED)

    def to_json(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "what": self.what,
            "verdict": str(self.verdict),
            "text": self.text,
            "hint": self.hint,
        }


def fine(about: str, what: str, text: str) -> Finding:
    return Finding(about, what, Verdict.FINE, text)


def note(about: str, what: str, text: str, hint: str = "") -> Finding:
    return Finding(about, what, Verdict.NOTE, text, hint)


def wrong(about: str, what: str, error: SpecrunError) -> Finding:
    return Finding(about, what, Verdict.WRONG, error.message, error.hint or "", int(error.exit_code))


_MARKS = {Verdict.FINE: ("ok", "green"), Verdict.NOTE: ("note", "yellow"), Verdict.WRONG: ("WRONG", "red")}


def findings_text(found: Sequence[Finding], *, color: bool) -> str:
    """A line for each, with what to do below it, and a sum."""
    paint = Paint(color)
    width = max((cells(f.about) for f in found), default=0)
    what_width = max((cells(f.what) for f in found), default=0)
    lines = []
    for one in found:
        mark, style = _MARKS[one.verdict]
        lines.append(
            f"{paint(pad(mark, 5), style)}  {pad(one.about, width)}  {pad(one.what, what_width)}  {clean(one.text)}"
        )
        if one.hint:
            lines.append(" " * (11 + width + what_width) + clean(one.hint))
    return "\n".join([*lines, _sum(found)]) + "\n"


def _sum(found: Iterable[Finding]) -> str:
    verdicts = [f.verdict for f in found]
    bad, notes = verdicts.count(Verdict.WRONG), verdicts.count(Verdict.NOTE)
    said = f", {notes} to note" if notes else ""
    return f"{bad} wrong{said}." if bad else f"Nothing is wrong{said}."
