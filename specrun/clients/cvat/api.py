"""Requests to one CVAT server as one account: JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from specrun.clients.cvat.connection import Connection
from specrun.clients.http import Retry

Progress = Callable[[int, int | None], None]
"""Bytes so far and in all (None: unknown)."""


class Api:
    """Thread-safe. Signs in at most once, at the first request, and once more when the session has run out.

    check_stop: called before requests and between waits; raises StopRequested. All methods raise CredentialsError
    (401, a wrong password), TransientError (the server cannot be reached or is busy after all attempts) and
    NodeError (anything else), one line each.
    """

    def __init__(
        self, connection: Connection, *, retry: Retry | None = None, check_stop: Callable[[], None] | None = None
    ) -> None:
        self.connection = connection
        raise NotImplementedError

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the sockets; the session stays for the next node of this worker."""
        raise NotImplementedError

    def get(self, path: str, **query: Any) -> Any:
        """path: `/api/tasks/1`. A query value of None is left out."""
        raise NotImplementedError

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every entry of a listing, in pages as large as the server allows."""
        raise NotImplementedError

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Never repeated by itself: whether a lost answer was carried out is for the caller to find out."""
        raise NotImplementedError

    def patch(self, path: str, body: Any = None, **query: Any) -> Any:
        raise NotImplementedError

    def put(self, path: str, body: Any = None, **query: Any) -> Any:
        raise NotImplementedError

    def stream(self, path: str, target: Path, progress: Progress | None = None, **query: Any) -> Path:
        """Download into `target` by way of `<target>.part`; what an interruption left is continued."""
        raise NotImplementedError
