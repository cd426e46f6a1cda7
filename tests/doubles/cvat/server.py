"""The double itself: `with CvatDouble() as server:` is a CVAT server on loopback until the block ends.

It answers as CVAT 2.73 did to cvat-sdk 2.80 (see cvat_pairs.jsonl.gz next to the contract test). Everything that a
test may want to look at or to break hangs on the object: `state`, `requests_seen`, `bytes_sent`, `faults`, `worker`,
`person`, `webhook_calls`.
"""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from tests.doubles.cvat import access, routes, webhooks
from tests.doubles.cvat.faults import Faults
from tests.doubles.cvat.http import Listener
from tests.doubles.cvat.person import Person
from tests.doubles.cvat.state import Organization, State, Token, User
from tests.doubles.cvat.wire import SERVER_ERROR_PAGE, Answer, Call, Refused
from tests.doubles.cvat.worker import Worker


class CvatDouble:
    user = "admin"
    password = "cvat-double"

    def __init__(
        self,
        *,
        anonymous_per_minute: int | None = 100,
        body_limit: int = 1 << 30,
        version: str = "2.73.0",
        ranges: bool = False,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """anonymous_per_minute: None lets everybody call as often as they like. ranges: downloads can be resumed, as
        behind nginx and not from the bare server. clock: for what the server dates."""
        self.state = State(clock) if clock is not None else State()
        self.version = version
        self.body_limit = body_limit
        self.ranges = ranges
        self.faults = Faults()
        self.worker = Worker(self.state)
        self.worker.on_finished = lambda request: webhooks.request_finished(self, request)
        self.anonymous_limit = access.AnonymousLimit(anonymous_per_minute)
        self.requests_seen: list[tuple[str, str, dict[str, str]]] = []
        self.bytes_sent = 0
        self.errors: list[str] = []
        """Tracebacks of the double's own faults: each was answered with 500."""
        self.webhook_calls: list[threading.Thread] = []
        """Calls of webhooks, as they were made; join them to wait for their answers."""
        self.stopping = threading.Event()
        self.admin = self.add_user(self.user, self.password, superuser=True, email="admin@localhost.local")
        self.person = Person(self, self.admin)
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        assert self._listener is not None, "the server is not running"
        return f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> Self:
        self._listener = Listener(self)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        assert self._thread is not None
        self.stopping.set()
        self._listener.shutdown()
        self._listener.socket.close()
        for connection in list(self._listener.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # Already closed by the client.
                continue
        self._thread.join()

    def answer(self, call: Call) -> Answer:
        """One call after another: the real server's transactions, without the database."""
        with self.state.lock:
            try:
                return self._routed(call)
            except Refused as refused:
                return refused.answer
            except Exception:
                self.errors.append(f"{call.method} {call.path} {call.query}\n{traceback.format_exc()}")
                return Answer(500, SERVER_ERROR_PAGE, "text/html; charset=utf-8")

    def _routed(self, call: Call) -> Answer:
        route, arguments = routes.find(call)
        access.identify(self, call)
        if call.user is None:
            if not route.open_to_all:
                raise access.unauthorized(access.ANONYMOUS["detail"])
            self.anonymous_limit.check(self.state.now())
        else:
            access.check_token(call)
            access.choose_organization(self.state, call)
        return route.resource(self, call, *arguments)

    def person_called(self, username: str) -> Person:
        """What that user does in the browser."""
        return Person(self, next(user for user in self.state.users.values() if user.username == username))

    def add_user(self, username: str, password: str, *, superuser: bool = False, email: str = "") -> User:
        user = User(
            self.state.next_id("users"),
            username,
            password,
            email=email or f"{username}@example.org",
            superuser=superuser,
            groups=["admin"] if superuser else ["user"],
            date_joined=self.state.now(),
        )
        self.state.users[user.id] = user
        return user

    def add_organization(self, slug: str, owner: User, **roles: str) -> Organization:
        """roles: username → worker, supervisor, maintainer."""
        organization = self.state.new_organization(slug, slug, owner.id)
        for username, role in roles.items():
            user = next(user for user in self.state.users.values() if user.username == username)
            self.state.new_membership(user.id, organization.id, role)
        return organization

    def add_token(self, owner: User, *, expiry_date: datetime | None = None, read_only: bool = False) -> Token:
        return self.state.new_token("made by a test", owner.id, expiry_date=expiry_date, read_only=read_only)
