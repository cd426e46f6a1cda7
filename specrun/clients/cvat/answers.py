"""What a CVAT server's refusals say, in one line."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

from specrun.clients.http import Answer, path_of
from specrun.errors import CredentialsError, NodeError, TransientError

LONGEST = 300


class Refused(NodeError):
    """The server understood and said no. status: its HTTP status. data: what it answered, if that was JSON."""

    def __init__(self, message: str, *, status: int, hint: str | None = None, data: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.data = data


def error_of(answer: Answer, method: str, url: str, host: str, *, signed_in: str) -> NodeError:
    """signed_in: as whom, for people ("the access token", "the user ann")."""
    words = words_of(answer)
    what = f"{method} {path_of(url)}"
    tail = f": {words}" if words else ""
    match answer.status:
        case 401:
            return CredentialsError(
                f"{host}: {signed_in} is not accepted{tail}",
                hint="It may have expired or been revoked: make a new one.",
            )
        case 403:
            return CredentialsError(
                f"{host}: {signed_in} may not {what}{tail}",
                hint="Ask for the right in CVAT; a read-only token cannot write, and an organization is for members.",
            )
        case 429:
            asked = answer.retry_after_s
            wait = f"; it asks to wait {asked:.0f} s" if asked is not None else ""
            return TransientError(f"{host}: too many requests{wait}", hint="Try again later.")
        case 404 if words.endswith("organization does not exist."):
            return Refused(f"{host}: {words}", status=404, hint="Check `organization` of the connection.")
        case 413:
            return Refused(f"{host}: {what}: the request is larger than the server takes", status=413)
        case status if status >= 500:
            return TransientError(f"{host}: {what} failed there with status {status}{tail}", hint="Its log says why.")
        case status:
            return Refused(f"{host}: {what}: status {status}{tail}", status=status, data=_json(answer))


def _json(answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def words_of(answer: Answer) -> str:
    """The server's own explanation as one plain line; "" for HTML and other things that are none."""
    if "html" in answer.headers.get("content-type", "") or answer.body.lstrip()[:1] == b"<":
        return ""
    try:
        found = _first(json.loads(answer.body))
    except ValueError:
        found = answer.body.decode("utf-8", "replace")
    return one_line(found)


def one_line(text: str) -> str:
    """Without control characters, line ends and what is too long to read."""
    line = " ".join(plain(text[: 4 * LONGEST], " ").split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def plain(value: Any, instead: str = "") -> str:
    """Text from the server without characters that steer a terminal; None is ""."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(instead if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


def _first(data: Any, depth: int = 0) -> str:
    """`{"detail": "…"}`, `["…"]`, `{"labels": [{"type": ["…"]}]}`: the first sentence, after its fields."""
    if isinstance(data, str):
        return data
    if depth < 8 and isinstance(data, Mapping):
        for key, value in data.items():
            if value not in (None, "", [], {}):
                inner = _first(value, depth + 1)
                return inner if key in ("detail", "non_field_errors", "message") else f"{key}: {inner}"
    if depth < 8 and isinstance(data, list):
        return next((_first(value, depth + 1) for value in data if value not in (None, "", [], {})), "")
    return "" if data is None or isinstance(data, list | Mapping) else str(data)
