"""One HTTP call and its answer, as the double's resources see them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from tests.doubles.cvat.state import Organization, Token, User

CVAT_JSON = "application/vnd.cvat+json"
SERVER_ERROR_PAGE = (
    b'\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n<body>\n'
    b"  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)


@dataclass
class Call:
    method: str
    path: str
    """Without the query, percent-decoded: `/api/tasks/1/data/`."""
    query: dict[str, str]
    """The last value of each parameter."""
    headers: Message
    body: bytes
    base_url: str
    raw_path: str = ""
    user: User | None = None
    token: Token | None = None
    organization: Organization | None = None
    sandbox: bool = False
    """The caller asked for what belongs to no organization (`org=`)."""

    @property
    def caller(self) -> User:
        if self.user is None:
            raise Refused(401, {"detail": "Authentication credentials were not provided."})
        return self.user

    @property
    def cookies(self) -> dict[str, str]:
        pairs = (part.strip().partition("=") for part in self.headers.get("Cookie", "").split(";"))
        return {name: value for name, _, value in pairs if name}

    def json(self) -> Any:
        try:
            return json.loads(self.body) if self.body else {}
        except ValueError as error:
            raise Refused(400, {"detail": f"JSON parse error - {error}"}) from None


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    """bytes as they are, None for nothing, anything else as JSON."""
    content_type: str = CVAT_JSON
    headers: dict[str, str] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)
    length: int | None = None
    """Content-Length of a HEAD, which has no body."""

    def payload(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Refused(Exception):
    """An answer that ends a call early."""

    def __init__(self, status: int, body: Any = None, content_type: str = CVAT_JSON, **headers: str) -> None:
        super().__init__(f"{status} {body}")
        self.answer = Answer(status, body, content_type, {key.replace("_", "-"): v for key, v in headers.items()})
