"""What a program prints, as lines of the log, progress and metrics."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from specrun.model.work import Context

LONGEST_LINE = 1 << 16
"""Characters after which a line is taken to end, so that output without line ends is passed on as well."""
LONGEST_MESSAGE = 1 << 12
"""A longer line is never progress or a metric."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_PERCENT = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)\s?%")


class Lines:
    """Bytes in, whole lines out; a carriage return ends a line too, as progress bars mean it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pieces: list[str] = []
        self._length = 0
        self._after_return = False

    def feed(self, chunk: bytes) -> list[str]:
        """Lines that this completes; no bytes: the end, which completes the last one."""
        text = self._decoder.decode(chunk, final=not chunk)
        if self._after_return and text:
            text = text.removeprefix("\n")
            self._after_return = False
        self._after_return = self._after_return or text.endswith("\r")
        first, *others = _LINE_END.split(text)
        self._keep(first)
        lines = []
        if others:
            lines = [self._take(), *others[:-1]]
            self._keep(others[-1])
        if self._length >= LONGEST_LINE or (not chunk and self._length):
            lines.append(self._take())
        return lines

    def _keep(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._length += len(piece)

    def _take(self) -> str:
        line = "".join(self._pieces)
        self._pieces, self._length = [], 0
        return line


def report(line: str, ctx: Context) -> None:
    """`{"progress": 0.4}`, `{"done": 3, "total": 10, "unit": "images"}`, `{"metric": "loss", "step": 1, "value": 2}`
    or a percentage; anything else, and anything that is no number, is a line of the log."""
    if not line.startswith("{"):
        _report_text(line, ctx)
        return
    data = _json_object(line)
    if "progress" in data and (done := finite(data["progress"])) is not None:
        ctx.progress(done, 1.0, phase=_text(data, "phase"))
    elif "done" in data and (done := finite(data["done"])) is not None:
        ctx.progress(done, finite(data.get("total")), _text(data, "unit"), _text(data, "phase"))
    elif _is_metric(data):
        ctx.metric(data["metric"], data["step"], data["value"])
    else:
        _report_text(line, ctx)


def _report_text(line: str, ctx: Context) -> None:
    ctx.log(line)
    percent = _PERCENT.search(line) if len(line) <= LONGEST_MESSAGE else None
    if percent and float(percent[1]) <= 100:
        ctx.progress(float(percent[1]), 100.0, "%")


def finite(value: Any) -> float | None:
    """A number that a float can hold, as it is; None: anything else (true, NaN, 1e999, 10 ** 400)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def _is_metric(data: Mapping[str, Any]) -> bool:
    numbers = finite(data.get("step")), finite(data.get("value"))
    return isinstance(data.get("metric"), str) and None not in numbers


def _text(data: Mapping[str, Any], key: str) -> str:
    return str(data.get(key, ""))


def _json_object(line: str) -> dict[str, Any]:
    if len(line) > LONGEST_MESSAGE:
        return {}
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
