"""HTTP/1.1 with keep-alive on a loopback port: bytes in, `Call`s out to the double, `Answer`s back."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.doubles.cvat.wire import Answer, Call

if TYPE_CHECKING:
    from tests.doubles.cvat.server import CvatDouble

_TOO_LARGE = b"<html><head><title>413 Request Entity Too Large</title></head></html>"


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, double: CvatDouble) -> None:
        self.double = double
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Exchange)

    def server_bind(self) -> None:
        # HTTPServer asks the resolver for the host's full name: seconds on a machine without DNS.
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; what goes wrong in a call is answered with 500."""


class _Exchange(BaseHTTPRequestHandler):
    server: Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        double = self.server.double
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        query = parse_qsl(parts.query, keep_blank_values=True)
        double.requests_seen.append((self.command, path, dict(query)))
        body = self._body(double.body_limit)
        if body is None:
            self.close_connection = True
            return self._send(Answer(413, _TOO_LARGE, "text/html"))
        call = Call(self.command, path, dict(query), self.headers, body, base_url=double.url, raw_path=parts.path)
        fault = double.faults.take(self.command, path)
        if fault is None:
            return self._send(double.answer(call))
        if fault.delay_s:
            double.stopping.wait(fault.delay_s)
        nothing_asked = fault.status is None and not fault.drop
        answer = double.answer(call) if fault.after or nothing_asked else Answer()
        if fault.drop:
            return self._hang_up()
        if fault.status is not None:
            answer = Answer(fault.status, fault.body, "text/html", fault.headers)
        self._send(answer, keep_bytes=fault.keep_bytes)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer

    def _body(self, limit: int) -> bytes | None:
        """None: more than `limit` bytes."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return self._chunked(limit)
        length = int(self.headers.get("Content-Length") or 0)
        return None if length > limit else self.rfile.read(length)

    def _chunked(self, limit: int) -> bytes | None:
        pieces, total = [], 0
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
            total += size
            if total > limit:
                return None
        self.rfile.readline()
        return b"".join(pieces)

    def _send(self, answer: Answer, keep_bytes: int | None = None) -> None:
        payload = answer.payload()
        self.send_response(answer.status)
        if payload or answer.body is not None:
            self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        for cookie in answer.cookies:
            self.send_header("Set-Cookie", cookie)
        if answer.status != 204:
            self.send_header("Content-Length", str(answer.length or len(payload)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload if keep_bytes is None else payload[:keep_bytes])
            self.server.double.bytes_sent += len(payload if keep_bytes is None else payload[:keep_bytes])
        self.wfile.flush()
        if keep_bytes is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The client was faster.
            return
