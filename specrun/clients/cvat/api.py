"""Requests to one CVAT server as one account: JSON in, JSON out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from specrun.clients.cvat.answers import Refused, error_of
from specrun.clients.cvat.connection import Connection
from specrun.clients.cvat.session import Session, Sessions, process_sessions
from specrun.clients.downloads import Progress, download
from specrun.clients.http import Answer, Http, Request, Retry, Timeouts, redacted
from specrun.errors import NodeError

__all__ = ["Api", "Progress", "Refused"]

JSON_TYPE = "application/vnd.cvat+json"
LARGEST_PAGE = 500
LOOK_TIMEOUT_S = 20.0
"""Longest silence while planning."""


class Api(AbstractContextManager["Api"]):
    """Thread-safe. Signs in at most once, at the first request, and once more when the session has run out.

    check_stop: called before requests and between waits; raises StopRequested. All methods raise CredentialsError
    (401, 403, a wrong password), TransientError (the server cannot be reached or is busy after all attempts),
    Refused (any other 4xx, with its status) and NodeError (anything else), one line each.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        retry: Retry | None = None,
        check_stop: Callable[[], None] | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self.connection = connection
        self.check_stop = check_stop or (lambda: None)
        self._sessions = sessions or process_sessions()
        # The whole of one JSON answer may take ten times as long as the longest silence in it.
        timeouts = Timeouts(
            connect_s=min(10.0, connection.timeout_s),
            read_s=connection.timeout_s,
            total_s=10 * connection.timeout_s,
        )
        self.http = Http(
            connection.url, timeouts=timeouts, retry=retry, verify_tls=connection.verify_tls, check_stop=check_stop
        )

    @classmethod
    def for_a_look(cls, connection: Connection, settings: Mapping[str, Any]) -> Api:
        """For `observe`: a server that does not answer is given up sooner than in work."""
        timeout_s = min(connection.timeout_s, LOOK_TIMEOUT_S)
        return cls(replace(connection, timeout_s=timeout_s), retry=Retry.for_a_look(settings))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the sockets; the session stays for the next node of this worker."""
        self.http.close()

    def get(self, path: str, **query: Any) -> Any:
        """path: `/api/tasks/1`. A query value of None is left out."""
        return self._json("GET", path, None, query)

    def get_bytes(self, path: str, **query: Any) -> tuple[bytes, str]:
        """Content and its type, for what fits into memory: a frame, a preview."""
        answer = self.ask("GET", path, query=query, accept="*/*")
        return answer.body, answer.headers.get("content-type", "")

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every entry of a listing, in pages as large as the server allows.

        Something that is made or removed in between may be seen twice or not at all: an id comes once.
        """
        seen: set[Any] = set()
        number = 1
        while True:
            page = self._page(path, number, query)
            for entry in page["results"]:
                if entry.get("id") is None or entry["id"] not in seen:
                    seen.add(entry.get("id"))
                    yield entry
            if not page.get("next"):
                return
            number += 1

    def _page(self, path: str, number: int, query: dict[str, Any]) -> Any:
        try:
            page = self.get(path, **{"page_size": LARGEST_PAGE, **query, "page": number})
        except Refused as refused:
            if refused.status == 404 and number > 1:  # the last entries went while the pages were read
                return {"results": ()}
            raise
        if not isinstance(page, dict) or not isinstance(page.get("results"), list):
            raise NodeError(f"{self.connection.host}: {path} is no listing", hint="Is this address a CVAT server?")
        return page

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Never repeated by itself: whether a lost answer was carried out is for the caller to find out."""
        return self._json("POST", path, body, query)

    def patch(self, path: str, body: Any = None, **query: Any) -> Any:
        return self._json("PATCH", path, body, query)

    def put(self, path: str, body: Any = None, **query: Any) -> Any:
        return self._json("PUT", path, body, query)

    def stream(self, path: str, target: Path, progress: Progress | None = None, **query: Any) -> Path:
        """Download into `target` by way of `<target>.part`; after a lost connection it goes on where it was."""
        self.ask("GET", path, query=query, accept="*/*", into=target, progress=progress)
        return target

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        accept: str = JSON_TYPE,
        into: Path | None = None,
        progress: Progress | None = None,
        again: bool | None = None,
    ) -> Answer:
        """One request with its answer, signed in. into: where the content goes instead of the answer.
        again: whether it may be carried out twice; None: as its method says."""

        def send(session: Session) -> Answer:
            headers = {"Accept": accept}
            if self.connection.organization is not None:
                headers["X-Organization"] = self.connection.organization
            content = None
            if body is not None:
                headers["Content-Type"], content = "application/json", json.dumps(body).encode()
            private = session.headers(self.connection.url)
            request = Request(method, path, query or {}, headers=headers, private=private, body=content, again=again)
            return self.http.send(request) if into is None else download(self.http, request, into, progress)

        session = self.session()
        answer = send(session)
        if _ended(answer) and self.connection.password is not None and not self.connection.token:
            answer = send(self.session(ended=session))
        if answer.status >= 300:
            raise self._error(answer, method, path)
        return answer

    def session(self, *, ended: Session | None = None) -> Session:
        """As whom requests are made; signs in when nobody has, or when `ended` is the newest.

        Raises CredentialsError.
        """
        return self._sessions.of(self.connection, self.http, ended=ended)

    def _json(self, method: str, path: str, body: Any, query: dict[str, Any]) -> Any:
        answer = self.ask(method, path, query=query, body=body)
        try:
            return answer.json()
        except ValueError:
            raise NodeError(
                f"{self.connection.host}: {method} {path} was not answered with JSON",
                hint="Is this address a CVAT server?",
            ) from None

    def _error(self, answer: Answer, method: str, path: str) -> NodeError:
        connection = self.connection
        error = error_of(answer, method, path, connection.host, signed_in=connection.account)
        error.message = redacted(error.message, [connection.token, connection.password])
        error.args = (error.message,)
        return error


def _ended(answer: Answer) -> bool:
    """The session is over: signing in again helps."""
    return answer.status == 401 or (answer.status == 403 and b"CSRF" in answer.body)
