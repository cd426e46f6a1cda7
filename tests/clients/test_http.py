"""The client for every server: redirects, failures in words, waits, and secrets that stay where they belong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from specrun.clients.downloads import download
from specrun.clients.http import Http, Request, Retry, Timeouts, same_origin, seconds_of
from specrun.errors import CredentialsError, NodeError, TransientError

Reply = Callable[[BaseHTTPRequestHandler], None]
QUICK = Retry(max_attempts=3, initial_delay_s=0.01, max_delay_s=0.02)


@contextmanager
def serving(reply: Reply) -> Iterator[str]:
    """A server on loopback that answers everything with `reply`; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            reply(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_token_does_not_follow_a_redirect_to_another_host() -> None:
    seen: list[str | None] = []

    def other(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("Authorization"))
        answer(handler, 200, b"content")

    with serving(other) as elsewhere, serving(lambda h: answer(h, 302, Location=f"{elsewhere}/file")) as base:
        got = Http(base, retry=QUICK).send(Request("GET", "/x", private={"Authorization": "Bearer s3cret"}))
    assert got.body == b"content"
    assert seen == [None]


def test_a_token_follows_a_redirect_on_its_own_host() -> None:
    seen: list[str | None] = []

    def reply(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/x":
            return answer(handler, 301, Location="/y")
        seen.append(handler.headers.get("Authorization"))
        return answer(handler, 200)

    with serving(reply) as base:
        Http(base).send(Request("GET", "/x", private={"Authorization": "Bearer s3cret"}))
    assert seen == ["Bearer s3cret"]


def test_a_request_with_content_is_not_sent_on_to_another_host() -> None:
    def other(handler: BaseHTTPRequestHandler) -> None:
        pytest.fail("the content came here")

    with (
        serving(other) as elsewhere,
        serving(lambda h: answer(h, 307, Location=f"{elsewhere}/login")) as base,
        pytest.raises(NodeError, match=f"sends POST requests on to {elsewhere}"),
    ):
        Http(base, retry=QUICK).send(Request("POST", "/login", body=b"password"))


def test_a_redirect_without_end_is_given_up() -> None:
    with (
        serving(lambda h: answer(h, 302, Location="/x")) as base,
        pytest.raises(NodeError, match="is redirected again and again"),
    ):
        Http(base).send(Request("GET", "/x"))


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://cvat.org/api", True),
        ("https://CVAT.org:443/api", True),
        ("http://cvat.org/api", False),
        ("https://cvat.org:8443/", False),
        ("https://cvat.org.evil.net/", False),
        ("https://cvat.org@evil.net/", False),
    ],
)
def test_only_the_same_host_is_the_same_origin(url: str, same: bool) -> None:
    assert same_origin("https://cvat.org", url) == same


def test_the_encrypted_side_of_a_host_is_its_own() -> None:
    assert same_origin("http://cvat.org", "https://cvat.org/api")
    assert not same_origin("http://cvat.org:8080", "https://cvat.org/api")


def test_nobody_listening_is_said_in_a_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TransientError, match=f"{base} refuses connections"):
            Http(base, retry=QUICK).send(Request("GET", "/"))


def test_a_server_without_tls_is_said_in_a_line() -> None:
    with serving(lambda h: answer(h, 200)) as base, pytest.raises(NodeError, match="does not speak TLS") as raised:
        Http(base.replace("http:", "https:"), retry=QUICK).send(Request("GET", "/"))
    assert not isinstance(raised.value, TransientError)


def test_silence_ends_after_the_read_timeout() -> None:
    release = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        release.wait(30)
        handler.close_connection = True

    with serving(silent) as base:
        http = Http(base, retry=Retry(max_attempts=1), timeouts=Timeouts(read_s=0.05))
        try:
            with pytest.raises(TransientError, match="has sent nothing for too long"):
                http.send(Request("GET", "/"))
        finally:
            release.set()


def test_an_answer_that_trickles_ends_after_the_total_timeout() -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000000")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 70_000)
        except OSError:
            handler.close_connection = True

    with serving(trickle) as base:
        http = Http(base, retry=Retry(max_attempts=1), timeouts=Timeouts(total_s=1e-9))
        with pytest.raises(TransientError, match="did not finish its answer in time"):
            http.send(Request("GET", "/"))


def test_a_download_may_take_longer_than_an_answer(tmp_path: Path) -> None:
    with serving(lambda h: answer(h, 200, b"x" * 200_000)) as base:
        http = Http(base, retry=Retry(max_attempts=1), timeouts=Timeouts(total_s=1e-9))
        assert download(http, Request("GET", "/"), tmp_path / "file").status == 200
    assert (tmp_path / "file").stat().st_size == 200_000


def test_a_download_asks_only_for_the_rest_of_the_same_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    asked: list[tuple[str | None, str | None]] = []

    def reply(handler: BaseHTTPRequestHandler) -> None:
        asked.append((handler.headers.get("Range"), handler.headers.get("If-Range")))
        if len(asked) == 1:
            handler.send_response(200)
            handler.send_header("ETag", '"one"')
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[:100_000])
            handler.close_connection = True
            return
        begin = int(str(handler.headers["Range"]).removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        answer(handler, 206, content[begin:], ETag='"one"', Content_Range=span)

    with serving(reply) as base:
        download(Http(base, retry=QUICK), Request("GET", "/"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert asked[0] == (None, None)
    assert asked[1][1] == '"one"'
    assert asked[1][0] is not None


def test_content_that_changed_in_between_is_fetched_from_its_start(tmp_path: Path) -> None:
    asked: list[str | None] = []

    def reply(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers.get("Range"))
        if len(asked) == 1:
            handler.send_response(200)
            handler.send_header("ETag", '"one"')
            handler.send_header("Content-Length", "200000")
            handler.end_headers()
            handler.wfile.write(b"a" * 100_000)
            handler.close_connection = True
            return
        answer(handler, 200, b"b" * 50, ETag='"two"')

    with serving(reply) as base:
        download(Http(base, retry=QUICK), Request("GET", "/"), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"b" * 50


def test_a_post_is_tried_again_only_when_the_server_cannot_have_seen_it() -> None:
    asked: list[str] = []

    def busy(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.command)
        answer(handler, 429 if len(asked) == 1 else 503, Retry_After="0")

    with serving(busy) as base:
        got = Http(base, retry=QUICK).send(Request("POST", "/", body=b"{}"))
    assert (got.status, asked) == (503, ["POST", "POST"])


def test_other_refusals_are_answers_at_once() -> None:
    asked: list[str] = []

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.command)
        answer(handler, 404)

    with serving(refuse) as base:
        assert Http(base, retry=QUICK).send(Request("GET", "/")).status == 404
    assert asked == ["GET"]


def test_delays_double_up_to_the_longest_with_half_of_them_by_chance() -> None:
    retry = Retry(max_attempts=9, initial_delay_s=1.0, max_delay_s=5.0)
    assert [retry.delay_s(failed, 1.0) for failed in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 5.0]
    assert retry.delay_s(2, 0.0) == 1.0


def test_settings_become_a_retry() -> None:
    settings = {"retry": {"max_attempts": 2, "initial_delay": "500ms", "max_delay": "1m"}}
    assert Retry.from_settings(settings) == Retry(2, 0.5, 60.0)
    assert Retry.from_settings({}) == Retry()


def test_retry_after_is_seconds_or_a_date() -> None:
    assert seconds_of("37", 0.0) == 37.0
    assert seconds_of("Thu, 01 Jan 1970 00:01:00 GMT", 10.0) == 50.0
    assert seconds_of("soon", 0.0) is None
    assert seconds_of(None, 0.0) is None


def test_a_query_is_escaped_and_none_is_left_out() -> None:
    seen: list[str] = []

    def reply(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.path)
        answer(handler, 200)

    with serving(reply) as base:
        Http(base).send(Request("GET", "/x", {"name": "a&b=c/ü", "none": None, "yes": True}))
    assert seen == ["/x?name=a%26b%3Dc%2F%C3%BC&yes=true"]


def test_sockets_are_kept_for_the_next_request() -> None:
    clients: set[tuple[str, int]] = set()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        clients.add(handler.client_address)
        answer(handler, 200, b"x")

    with serving(reply) as base:
        http = Http(base)
        for _ in range(3):
            http.send(Request("GET", "/"))
        http.close()
    assert len(clients) == 1


def test_a_token_that_no_header_can_hold_is_refused_without_showing_it() -> None:
    http = Http("http://127.0.0.1:9", timeouts=Timeouts(1, 1, 1), retry=QUICK)
    with pytest.raises(CredentialsError, match="Authorization holds characters") as refused:
        http.send(Request("GET", "/", private={"Authorization": "Bearer s3crèt\n"}))
    assert "s3cr" not in f"{refused.value} {refused.value.hint}"
