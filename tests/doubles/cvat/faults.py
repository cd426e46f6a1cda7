"""Faults that a test puts between the client and the double: refusals, delays, cut connections."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field


@dataclass
class Fault:
    method: str
    path: re.Pattern[str]
    times: int
    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    """Close the connection without an answer."""
    after: bool = False
    """Only once the server has done what was asked: the answer is lost, the effect is not."""
    delay_s: float = 0.0
    keep_bytes: int | None = None
    """Send this many bytes of the body, then close the connection."""


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[Fault] = []

    def add(self, method: str = "*", path: str = ".*", *, times: int = 1, **what: object) -> Fault:
        """For the next `times` calls of `method` ("*": any) whose path matches `path` from its start.

        what: status, body, headers, drop, after, delay_s, keep_bytes (see `Fault`).
        """
        fault = Fault(method, re.compile(path), times, **what)  # type: ignore[arg-type]
        with self._lock:
            self._pending.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()

    def take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self._pending:
                if fault.method in ("*", method) and fault.path.match(path):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._pending.remove(fault)
                    return fault
        return None
