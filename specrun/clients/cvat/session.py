"""Being signed in: a token as it is, or a password turned into a session that the whole process shares.

CVAT counts logins and anonymous requests together, 100 a minute for an address: a worker signs in once for all its
nodes, and nothing is asked before it is signed in.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from specrun.clients.cvat.answers import error_of, words_of
from specrun.clients.cvat.connection import Connection
from specrun.clients.http import Answer, Http, Request
from specrun.errors import CredentialsError, NodeError


@dataclass(frozen=True, slots=True)
class Session:
    """cookies and csrf are empty for a token. number: counts the logins of one account."""

    number: int
    token: str | None = field(default=None, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def csrf(self) -> str:
        return self.cookies.get("csrftoken", "")

    def headers(self, base: str) -> dict[str, str]:
        """For the server's own host alone."""
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if not self.cookies:
            return {}
        parts = urlsplit(base)
        return {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-CSRFToken": self.csrf,
            "Origin": f"{parts.scheme}://{parts.netloc}",
        }


@dataclass
class Sessions:
    """The sessions of a process, one for each account."""

    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _locks: dict[str, threading.Lock] = field(default_factory=dict, repr=False)
    _live: dict[str, Session] = field(default_factory=dict, repr=False)

    def of(self, connection: Connection, http: Http, *, ended: Session | None = None) -> Session:
        """Signs in when nobody has, or when `ended` is the newest. Raises CredentialsError."""
        if connection.token:
            return Session(0, token=connection.token)
        if connection.username is None or connection.password is None:
            return Session(0)
        account = _account(connection)
        with self._lock:
            lock = self._locks.setdefault(account, threading.Lock())
        with lock:
            live = self._live.get(account)
            if live is None or (ended is not None and live.number <= ended.number):
                cookies = sign_in(connection, http)
                live = self._live[account] = Session(live.number + 1 if live else 1, cookies=cookies)
            return live


@cache
def process_sessions() -> Sessions:
    """Shared on purpose: a warm worker serves many nodes of one connection with one login."""
    return Sessions()


def _account(connection: Connection) -> str:
    words = json.dumps([connection.url, connection.username, connection.password])
    return hashlib.sha256(words.encode()).hexdigest()


def sign_in(connection: Connection, http: Http) -> dict[str, str]:
    """The cookies of a new session. Raises CredentialsError: a wrong password."""
    body = json.dumps({"username": connection.username, "password": connection.password}).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/vnd.cvat+json"}
    path = "/api/auth/login"
    answer = http.send(Request("POST", path, headers=headers, body=body))
    who = f"the user {connection.username}"
    if answer.status in (400, 401, 403):
        raise CredentialsError(
            f"{connection.host}: {who} cannot sign in: {words_of(answer) or answer.status}",
            hint="Check username and password of the connection.",
        )
    if answer.status >= 400:
        raise error_of(answer, "POST", path, connection.host, signed_in=who)
    cookies = _cookies(answer)
    if "sessionid" not in cookies:
        raise NodeError(f"{connection.host}: no session came with the login", hint="Is this address a CVAT server?")
    return cookies


def _cookies(answer: Answer) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in answer.cookies:
        try:
            found.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})
        except CookieError:
            continue
    return found
