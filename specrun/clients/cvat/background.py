"""Requests that a CVAT server works on in the background: exports, imports, making a task from its data.

cvat-sdk asks every five seconds, for ever; here the first answers come after tenths of a second, and there is an end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from specrun.clients.cvat.answers import Refused, one_line
from specrun.clients.cvat.api import Api
from specrun.errors import CredentialsError, NodeError

Fraction = Callable[[float, str], None]
"""Share done in [0, 1] and the server's own words."""
FIRST_WAIT_S, LONGEST_WAIT_S, GROWTH = 0.1, 5.0, 1.4


def finish(
    api: Api,
    rq_id: str,
    *,
    deadline_s: float | None = None,
    check_stop: Callable[[], None] | None = None,
    progress: Fraction | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Wait until it is finished; returns the request as the server tells it, with `result_url` and `result_id`.

    deadline_s: None for the connection's. Raises NodeError: failed (with the server's words), gone, or not finished
    by the deadline (with the id and what to do).
    """
    allowed_s = api.connection.requests_deadline_s if deadline_s is None else deadline_s
    until = clock() + allowed_s
    wait_s = FIRST_WAIT_S
    while True:
        if check_stop is not None:
            check_stop()
        request = _state(api, rq_id)
        status, words = request.get("status"), one_line(str(request.get("message") or ""))
        if status == "finished":
            return request
        if status == "failed":
            raise NodeError(f"{api.connection.host}: {_what(request)} failed: {words or 'without a word'} ({rq_id})")
        if progress is not None:
            progress(min(1.0, max(0.0, float(request.get("progress") or 0.0))), words or str(status))
        left = until - clock()
        if left <= 0:
            raise _too_late(api, rq_id, request, allowed_s)
        api.http.wait(min(wait_s, left))
        wait_s = min(LONGEST_WAIT_S, wait_s * GROWTH)


def under_way(api: Api, rq_id: str) -> bool:
    """Whether the server works on it, or will. Raises NodeError: it failed."""
    try:
        request = _state(api, rq_id)
    except (Refused, CredentialsError):  # forgotten, or somebody else's
        return False
    if request.get("status") == "failed":
        words = one_line(str(request.get("message") or ""))
        raise NodeError(f"{api.connection.host}: {_what(request)} failed: {words} ({rq_id})")
    return request.get("status") in ("queued", "started")


def begin(api: Api, path: str, body: Any = None, **query: Any) -> str:
    """POST what starts a background request; returns its id. One that already runs (409) is followed instead."""
    return begin_or_join(api, path, body, **query)[0]


def begin_or_join(api: Api, path: str, body: Any = None, **query: Any) -> tuple[str, bool]:
    """The id, and whether it ran already: what it makes may then be older than this moment."""
    try:
        # Twice the same is one request for the server, so a lost answer does no harm.
        told = api.ask("POST", path, query=query, body=body, again=True).json()
        joined = False
    except Refused as refused:
        if refused.status != 409:
            raise
        told, joined = refused.data, True
    rq_id = told.get("rq_id") if isinstance(told, dict) else None
    if not rq_id:
        raise NodeError(f"{api.connection.host}: POST {path} began no background request")
    return str(rq_id), joined


def result_path(request: dict[str, Any]) -> str:
    """Where the result lies, as a path: the server's own idea of its address may not be the one it is reached at."""
    parts = urlsplit(str(request.get("result_url") or ""))
    path = parts.path[parts.path.find("/api/") :] if "/api/" in parts.path else ""
    if not path:
        raise NodeError(f"{_what(request)} was finished without a result")
    return f"{path}?{parts.query}" if parts.query else path


def _state(api: Api, rq_id: str) -> dict[str, Any]:
    try:
        request = api.get(f"/api/requests/{quote(rq_id, safe='')}")
    except Refused as refused:
        if refused.status == 404:
            raise Refused(
                f"{api.connection.host}: the server has forgotten the request {rq_id}",
                status=404,
                hint="Somebody cancelled it, or its result has expired: run again.",
            ) from None
        raise
    if not isinstance(request, dict):
        raise NodeError(f"{api.connection.host}: the request {rq_id} has no state")
    return request


def _what(request: dict[str, Any]) -> str:
    operation = request.get("operation") or {}
    number = next((operation[k] for k in ("job_id", "task_id", "project_id") if operation.get(k) is not None), "")
    return f"{operation.get('type') or 'a request'} {operation.get('target') or ''} {number}".strip()


def _too_late(api: Api, rq_id: str, request: dict[str, Any], allowed_s: float) -> NodeError:
    status = request.get("status")
    reason = "no worker of the server has taken it" if status == "queued" else "the server is still at it"
    return NodeError(
        f"{api.connection.host}: {_what(request)} is not finished after {allowed_s:.0f} s: {reason} ({rq_id})",
        hint="Look at Requests in CVAT and at the log of its workers; a later run follows the same request. "
        "`requests_deadline` of the connection is how long it may take.",
    )
