"""Requests that a CVAT server works on in the background: exports, imports, making a task from its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from specrun.clients.cvat.api import Api

Fraction = Callable[[float, str], None]
"""Share done in [0, 1] and the server's own words."""


def finish(
    api: Api,
    rq_id: str,
    *,
    deadline_s: float | None = None,
    check_stop: Callable[[], None] | None = None,
    progress: Fraction | None = None,
) -> dict[str, Any]:
    """Wait until it is finished; returns the request as the server tells it, with `result_url` and `result_id`.

    deadline_s: None for the connection's. Raises NodeError: failed (with the server's words), gone, or not finished
    by the deadline (with the id and what to do).
    """
    raise NotImplementedError


def begin(api: Api, path: str, body: Any = None, **query: Any) -> str:
    """POST what starts a background request; returns its id. One that already runs (409) is followed instead."""
    raise NotImplementedError
