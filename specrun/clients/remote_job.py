"""What a job on another machine is: its states, and what it says of itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from specrun.clients.http import Answer, host_of
from specrun.errors import CredentialsError, NodeError, TransientError

_LONGEST_REASON = 400


class JobState(StrEnum):
    """paused: it is known, but its server cannot be asked just now."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart form. filename: of a file; None: a plain value."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str = "application/octet-stream"


def form(parts: list[Part]) -> tuple[bytes, str]:
    """multipart/form-data, and its content type."""
    boundary = os.urandom(16).hex()
    lines: list[bytes] = []
    for part in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part.name}"'
        if part.filename is not None:
            quoted = part.filename.replace("\\", "_").replace('"', "%22")
            head += f'; filename="{quoted}"\r\nContent-Type: {part.content_type}'
        lines.append(head.encode() + b"\r\n\r\n" + part.content + b"\r\n")
    lines.append(f"--{boundary}--\r\n".encode())
    return b"".join(lines), f"multipart/form-data; boundary={boundary}"


def content_of(answer: Answer, base: str, what: str, wanted: type | tuple[type, ...] = dict) -> Any:
    """The JSON of an answer that is well. Raises CredentialsError, TransientError, NodeError."""
    if answer.status >= 300:
        raise refusal(answer, base, what)
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, wanted):
        raise nonsense(base, what)
    return found


def nonsense(base: str, what: str) -> NodeError:
    hint = "Check the connection's url: is this the right server, and no page of a proxy in front of it?"
    return NodeError(f"{host_of(base)}: the answer to {what} is not what such a server says.", hint=hint)


def refusal(answer: Answer, base: str, what: str) -> NodeError:
    host = host_of(base)
    reason = _reason(answer)
    match answer.status:
        case 401 | 403:
            hint = "Check the token behind the connection."
            return CredentialsError(f"{host}: refuses the token ({answer.status}) at {what}.", hint=hint)
        case 402:
            return NodeError(f"{host}: wants to be paid first (402): {reason}", hint="Look at the account's billing.")
        case 404:
            return NodeError(f"{host}: knows nothing of {what} (404). {reason}".rstrip(), hint="Check its name.")
        case 429 | 500 | 502 | 503 | 504 as status:
            return TransientError(f"{host}: answers {status} to {what}: {reason}", hint="Try again later.")
        case status:
            return NodeError(f"{host}: answers {status} to {what}: {reason}")


def _reason(answer: Answer) -> str:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if isinstance(told, Mapping):
        parts = [_words(told[key]) for key in ("title", "detail", "error", "node_errors") if told.get(key)]
        text = "; ".join(parts) or json.dumps(told)
    else:
        text = answer.body[:_LONGEST_REASON].decode("utf-8", "replace")
    return " ".join(text.split())[:_LONGEST_REASON]


def _words(value: Any) -> str:
    if isinstance(value, Mapping) and "message" in value:
        return f"{value['message']} {value.get('details') or ''}".strip()
    return value if isinstance(value, str) else json.dumps(value)
