"""Requests over HTTP for every client: one pool, timeouts, retries, secrets that stay at their host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specrun.spec.quantities import duration_s


@dataclass(frozen=True, slots=True)
class Retry:
    """Attempts of one request, the first included; delays double from one to the other, with jitter."""

    max_attempts: int = 5
    initial_delay_s: float = 1.0
    max_delay_s: float = 60.0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Retry:
        """settings: `ctx.settings` or `look.settings`."""
        given = settings.get("retry") or {}
        usual = cls()
        return cls(
            max_attempts=int(given.get("max_attempts", usual.max_attempts)),
            initial_delay_s=duration_s(given.get("initial_delay", "1s")),
            max_delay_s=duration_s(given.get("max_delay", "60s")),
        )
