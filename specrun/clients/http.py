"""Requests over HTTP for every client: one pool, timeouts, retries, secrets that stay at their own host.

What is repeated: a request that may be carried out twice (`Request.again`) after a lost connection, 429, 502, 503,
504 or 500; any request that was certainly not carried out (no connection, 429). Nothing else.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from specrun import __version__
from specrun.clients.http_failures import Lost, as_error, lost_from
from specrun.errors import CredentialsError, NodeError
from specrun.spec.quantities import duration_s

BLOCK = 1 << 16
MAX_REDIRECTS = 5
WAIT_SLICE_S = 0.2
"""A wait is cut into these, so that a run that is asked to stop does."""
LOOK_ATTEMPTS = 2
BUSY = frozenset({429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


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
        return cls(
            max_attempts=int(given.get("max_attempts", 5)),
            initial_delay_s=duration_s(given.get("initial_delay", "1s")),
            max_delay_s=duration_s(given.get("max_delay", "60s")),
        )

    @classmethod
    def for_a_look(cls, settings: Mapping[str, Any]) -> Retry:
        """While planning somebody waits for the answer: one more attempt, and soon."""
        given = cls.from_settings(settings)
        return cls(min(given.max_attempts, LOOK_ATTEMPTS), min(given.initial_delay_s, 1.0), min(given.max_delay_s, 2.0))

    def delay_s(self, failed: int, share: float) -> float:
        """After that many failed attempts. share: in [0, 1), random; half of the delay is left to it."""
        longest = min(self.max_delay_s, self.initial_delay_s * 2.0 ** (failed - 1))
        return float(longest * (0.5 + share / 2))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """connect: until the server accepts. read: longest silence. total: of one attempt with its whole answer."""

    connect_s: float = 10.0
    read_s: float = 60.0
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """url: a path below the server's address, or a whole URL. private: headers for the server's own host alone.
    again: whether it may be carried out twice; None: as its method says. long: a download, which takes as long as
    it takes; only silence ends it."""

    method: str
    url: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    private: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    again: bool | None = None
    long: bool = False

    @property
    def repeatable(self) -> bool:
        return self.method in SAFE if self.again is None else self.again


@dataclass(frozen=True, slots=True)
class Answer:
    """headers: names in lower case; of several with one name, the last. cookies: each Set-Cookie line."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False, default=b"")
    cookies: tuple[str, ...] = field(repr=False, default=())

    def json(self) -> Any:
        """Raises ValueError: no JSON."""
        try:
            return json.loads(self.body) if self.body else None
        except RecursionError:
            raise ValueError("its JSON is nested too deeply") from None

    @property
    def retry_after_s(self) -> float | None:
        return seconds_of(self.headers.get("retry-after"), time.time())


class Http:
    """One server. Thread-safe. check_stop: called before requests and in waits."""

    def __init__(
        self,
        base: str,
        *,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        verify_tls: bool = True,
        check_stop: Callable[[], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # Commands on projects without connections never load it.
        import urllib3

        self.base = base.rstrip("/")
        self.timeouts = timeouts or Timeouts()
        self.retry = retry or Retry()
        self._check_stop = check_stop or (lambda: None)
        self._sleep = sleep
        if not verify_tls:  # said once where the connection is declared, not with every request
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._pool = urllib3.PoolManager(
            maxsize=8, cert_reqs="CERT_REQUIRED" if verify_tls else "CERT_NONE", retries=False
        )

    def close(self) -> None:
        self._pool.clear()

    def send(self, request: Request) -> Answer:
        """The answer, whatever its status. Raises TransientError (no answer), NodeError (TLS, a bad redirect)."""

        def attempt() -> Answer:
            with self.opened(request) as (answer, blocks):
                return replace(answer, body=b"".join(blocks))

        return self.attempts(request, attempt)

    def attempts(self, request: Request, attempt: Callable[[], Answer]) -> Answer:
        """`attempt` as often as the settings allow and the request bears."""
        for failed in range(1, self.retry.max_attempts + 1):
            self._check_stop()
            last = failed == self.retry.max_attempts
            try:
                answer = attempt()
            except Lost as lost:
                if last or not lost.passing or not (request.repeatable or lost.unsent):
                    raise as_error(lost, self.base) from None
                self.wait(self.retry.delay_s(failed, random.random()))
                continue
            busy = answer.status == 429 or (answer.status in BUSY and request.repeatable)
            asked = answer.retry_after_s
            if not busy or last or (asked is not None and asked > self.retry.max_delay_s):
                return answer
            self.wait(self.retry.delay_s(failed, random.random()) if asked is None else asked)
        raise AssertionError("max_attempts is at least 1")

    def wait(self, seconds: float) -> None:
        left = seconds
        while left > 0:
            self._check_stop()
            self._sleep(min(left, WAIT_SLICE_S))
            left -= WAIT_SLICE_S
        self._check_stop()

    @contextmanager
    def opened(self, request: Request) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """One attempt: the answer's head, and its content as it comes. Raises Lost, NodeError."""
        response = None
        allowed_s = None if request.long else self.timeouts.total_s
        until = None if allowed_s is None else time.monotonic() + allowed_s
        try:
            with lost_from():
                response = self._follow(request)
            yield _head(response), _blocks(response, until, self._check_stop)
        finally:
            if response is not None:
                response.close()  # one that was read to its end has given its socket back already

    def _follow(self, request: Request) -> Any:
        """The response after all redirects; another host gets neither credentials nor content."""
        url = self.absolute(request.url, request.query)
        for _ in range(MAX_REDIRECTS):
            own = same_origin(self.base, url)
            response = self._ask(request, url, own=own)
            place = response.headers.get("location") if response.status in REDIRECTS else None
            if not place:
                return response
            response.drain_conn()
            response.release_conn()
            url, before = urljoin(url, place), url
            self._check_redirect(request, response.status, before, url)
        raise NodeError(f"{host_of(self.base)}: {request.method} {path_of(url)} is redirected again and again")

    def _check_redirect(self, request: Request, status: int, before: str, url: str) -> None:
        """Raises NodeError: nothing but the reading of something may be sent elsewhere."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise NodeError(f"{host_of(before)}: redirects to an address that is not HTTP")
        if request.method in SAFE or (status in (307, 308) and same_origin(self.base, url)):
            return
        target = urlsplit(url)
        raise NodeError(
            f"{host_of(self.base)}: sends {request.method} requests on to {target.scheme}://{target.netloc}",
            hint="Write the address that it is really reached at as the connection's url.",
        )

    def _ask(self, request: Request, url: str, *, own: bool) -> Any:
        import urllib3  # see __init__

        private = request.private if own else {}
        headers = {"User-Agent": f"specrun/{__version__}", **request.headers, **private}
        _check_sendable(private, self.base)
        return self._pool.request(
            request.method,
            url,
            body=request.body,
            headers=headers,
            timeout=urllib3.Timeout(connect=self.timeouts.connect_s, read=self.timeouts.read_s),
            redirect=False,
            preload_content=False,
        )

    def absolute(self, url: str, query: Mapping[str, Any]) -> str:
        whole = url if "://" in url else self.base + url
        words = [f"{quote(k, safe='')}={quote(_query_text(v), safe='')}" for k, v in query.items() if v is not None]
        if words:
            whole += ("&" if "?" in whole else "?") + "&".join(words)
        return whole


def _check_sendable(private: Mapping[str, str], base: str) -> None:
    """Raises CredentialsError: http.client would refuse them in a message that quotes them."""
    for name, value in private.items():
        if not (value.isascii() and value.isprintable()):
            message = f"{host_of(base)}: {name} holds characters that HTTP cannot send"
            raise CredentialsError(message, hint="Check the token or password behind the connection.")


def _query_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _head(response: Any) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(int(response.status), headers, cookies=tuple(response.headers.getlist("set-cookie")))


def _blocks(response: Any, until: float | None, check_stop: Callable[[], None]) -> Iterator[bytes]:
    with lost_from():
        for block in response.stream(BLOCK):
            check_stop()
            if until is not None and time.monotonic() > until:
                raise Lost("did not finish its answer in time")
            yield block


def same_origin(base: str, url: str) -> bool:
    """Whether credentials for `base` may go to `url`: the same host, or its encrypted side."""
    ours, theirs = urlsplit(base), urlsplit(url)
    if ours.hostname != theirs.hostname:
        return False
    if (ours.scheme, _port(base)) == (theirs.scheme, _port(url)):
        return True
    return (ours.scheme, _port(base), theirs.scheme, _port(url)) == ("http", 80, "https", 443)


def _port(url: str) -> int | None:
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def host_of(url: str) -> str:
    """Host and port of a URL, lower case, without a port that the scheme implies."""
    parts = urlsplit(url)
    name = (parts.hostname or "").lower()
    name = f"[{name}]" if ":" in name else name
    implied = {"http": 80, "https": 443}.get(parts.scheme)
    return name if parts.port in (None, implied) else f"{name}:{parts.port}"


def path_of(url: str) -> str:
    return urlsplit(url).path


def seconds_of(retry_after: str | None, now: float) -> float | None:
    """`Retry-After` as seconds from now; it may be a number or a date. None: absent, or neither."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    # Few servers send a date.
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except ValueError:
        return None


def redacted(text: str, secrets: Sequence[str | None]) -> str:
    """The text without any of the secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    return text
