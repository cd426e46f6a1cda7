"""Secrets are covered in everything that a node tells: its log, its events, the cause of its failure."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from specrun.run.request import Result

COVER = "•••"
SHORTEST_SECRET = 6
"""Characters; covering a shorter value would spoil ordinary text."""
LONGEST_LINE = 1 << 16
_LINE_END = re.compile(rb"[\r\n]")


class Veil:
    """Covers the given values, and each line of one that has several."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {line.strip() for secret in secrets for line in (secret, *secret.splitlines())}
        long = sorted((value for value in values if len(value) >= SHORTEST_SECRET), key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, long))) if long else None
        self._bytes = re.compile(b"|".join(re.escape(value.encode()) for value in long)) if long else None

    def __bool__(self) -> bool:
        return self._text is not None

    def text(self, text: str) -> str:
        return self._text.sub(COVER, text) if self._text else text

    def raw(self, content: bytes) -> bytes:
        return self._bytes.sub(COVER.encode(), content) if self._bytes else content

    def json(self, value: Any) -> Any:
        """All texts within, at any depth; keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.json(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.json(inner) for inner in value]
        return value

    def result(self, result: Result) -> Result:
        missing = tuple(map(self.text, result.missing))
        return replace(result, cause=self.text(result.cause), hint=self.text(result.hint), missing=missing)


class VeiledPipe:
    """A descriptor to write to; what is written reaches the target covered, line by line."""

    def __init__(self, target: int, veil: Veil) -> None:
        reading, self.descriptor = os.pipe()
        self._target, self._veil = os.dup(target), veil
        self._thread = threading.Thread(target=self._pump, args=(reading,), daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 1.0) -> None:
        """Wait until everything has arrived; not for a process left behind that still holds the descriptor."""
        os.close(self.descriptor)
        self._thread.join(timeout_s)

    def _pump(self, reading: int) -> None:
        rest = b""
        while chunk := os.read(reading, 1 << 16):
            rest += chunk
            ends = [found.end() for found in _LINE_END.finditer(rest, len(rest) - len(chunk))]
            cut = ends[-1] if ends else len(rest) if len(rest) >= LONGEST_LINE else 0
            self._write(rest[:cut])
            rest = rest[cut:]
        self._write(rest)
        os.close(reading)
        os.close(self._target)

    def _write(self, content: bytes) -> None:
        left = self._veil.raw(content)
        while left:
            left = left[os.write(self._target, left) :]
