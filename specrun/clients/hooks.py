"""A small web server that listens for signed messages and tells who sent them; their content is not believed.

A message only says that there is something to look at. So a replay does nothing that a look does not, and nothing
of what a sender writes goes any further. Bodies, their number at a time and how long a sender may take are bounded.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SIGNATURE_HEADER = "X-Signature-256"
LARGEST_BODY = 1 << 20
SLOWEST_S = 10.0
FAREWELL_S = 1.0
"""For the rest of a message that is not read: who is cut off while sending never sees the answer."""
AT_A_TIME = 16
_PREFIX = "sha256="


def verify_signature(body: bytes, header: str | None, secret: str) -> bool:
    """Whether a message was signed with the secret. header: the value of SIGNATURE_HEADER; body: as received."""
    if not header or not header.startswith(_PREFIX):
        return False
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), header[len(_PREFIX) :].encode("latin-1", "replace"))


class HookServer:
    """Listens on `host:port` in threads of its own until it is closed.

    secrets: sender → secret. heard: called with the sender of each message that is signed with its secret, from
    any thread. Raises OSError: the address is taken, or is none of this machine.
    """

    def __init__(self, listen: str, secrets: Mapping[str, str], heard: Callable[[str], None]) -> None:
        self.listen = listen
        self._secrets = dict(secrets)
        self._heard = heard
        self._lock = threading.Lock()
        self._refused = 0
        host, _, port = listen.rpartition(":")
        self._server = _Listener((host.strip("[]"), int(port)), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The one that was given, or that the system chose for 0."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take_refused(self) -> int:
        """How many messages since the last call were not signed with any of the secrets."""
        with self._lock:
            refused, self._refused = self._refused, 0
        return refused

    def receive(self, body: bytes, signature: str | None) -> bool:
        """Whether it was signed; several senders may share a secret."""
        senders = [name for name, secret in self._secrets.items() if verify_signature(body, signature, secret)]
        for sender in senders:
            self._heard(sender)
        if not senders:
            with self._lock:
                self._refused += 1
        return bool(senders)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], hooks: HookServer) -> None:
        self.hooks = hooks
        self._free = threading.BoundedSemaphore(AT_A_TIME)
        super().__init__(address, _Message)

    def process_request(self, request: Any, client_address: Any) -> None:
        """One too many is hung up on: whoever sent it may send it again, and the regular look comes anyway."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hangs up in the middle of a message is nobody's concern."""


class _Message(BaseHTTPRequestHandler):
    server: _Listener
    server_version = "specrun"
    sys_version = ""
    timeout = SLOWEST_S

    def do_POST(self) -> None:
        status = self._received(self.server.hooks)
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self._let_send()

    def _let_send(self) -> None:
        """Take what is still on its way, a bounded amount of it, until the sender has read the answer and hangs up."""
        left = LARGEST_BODY
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(FAREWELL_S)
            while left > 0 and (taken := self.connection.recv(min(left, 1 << 16))):
                left -= len(taken)

    def _received(self, hooks: HookServer) -> int:
        """The status to answer with."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            return 411
        if int(length) > LARGEST_BODY:
            return 413
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            return 400
        return 204 if hooks.receive(body, self.headers.get(SIGNATURE_HEADER)) else 403

    def log_message(self, format: str, *args: object) -> None:
        """The command that listens says what there is to say."""
