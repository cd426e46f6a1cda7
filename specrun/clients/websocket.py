"""A websocket's receiving side, enough for a server that reports progress: text messages, pings, the end.

Source: RFC 6455. Written here because no websocket library is among the dependencies; nothing but pongs is sent.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
import struct
from collections.abc import Mapping
from urllib.parse import urlsplit

_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_MAX_MESSAGE = 64 * 1024 * 1024
_MAX_HEAD = 64 * 1024


class WebSocket:
    """url: http(s) address of the socket. Raises OSError wherever the connection does not hold."""

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = 10.0, verify_tls: bool = True
    ) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        plain = socket.create_connection((parts.hostname or "", port), timeout=timeout_s)
        try:
            self._socket = _encrypted(plain, parts.hostname or "", verify_tls) if secure else plain
            self._held = b""
            self._parts: list[bytes] = []
            self._shake_hands(parts.netloc, f"{parts.path or '/'}?{parts.query}", headers or {})
        except BaseException:
            plain.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def receive(self, timeout_s: float) -> str | None:
        """The next text message; None: nothing came in time. Raises OSError: the connection ended."""
        self._socket.settimeout(max(0.001, timeout_s))
        while True:
            try:
                frame = self._frame()
            except TimeoutError:
                return None
            if frame is not None:
                return frame

    def _shake_hands(self, host: str, target: str, headers: Mapping[str, str]) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        while b"\r\n\r\n" not in self._held:
            if len(self._held) > _MAX_HEAD:
                raise ConnectionError("the answer to the upgrade has no end")
            self._fill()
        head, self._held = self._held.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n", 1)[0] + b" ":
            raise ConnectionError("the server does not open a websocket")

    def _fill(self) -> None:
        block = self._socket.recv(65536)
        if not block:
            raise ConnectionError("the websocket ended")
        self._held += block

    def _frame(self) -> str | None:
        """One frame taken from what came; a frame that is cut short stays held. None: no whole text message yet."""
        first, second = self._ahead(2)
        length, begin = second & 0x7F, 2
        if length == 126:
            length, begin = struct.unpack(">H", self._ahead(4)[2:4])[0], 4
        elif length == 127:
            length, begin = struct.unpack(">Q", self._ahead(10)[2:10])[0], 10
        if length > _MAX_MESSAGE or second & 0x80:
            raise ConnectionError("the server sends what is no websocket message")
        content = self._ahead(begin + length)[begin : begin + length]
        self._held = self._held[begin + length :]
        return self._taken(first & 0x0F, bool(first & 0x80), content)

    def _taken(self, code: int, last: bool, content: bytes) -> str | None:
        if code == _CLOSE:
            raise ConnectionError("the server ended the websocket")
        if code == _PING:
            mask = os.urandom(4)
            masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(content))
            self._socket.sendall(bytes([0x80 | _PONG, 0x80 | len(content)]) + mask + masked)
        if code == _TEXT:
            self._parts = [content]
        elif code == 0 and self._parts:
            self._parts.append(content)
        if code not in (_TEXT, 0) or not last or not self._parts:
            return None
        whole, self._parts = b"".join(self._parts), []
        return whole.decode("utf-8", "replace")

    def _ahead(self, count: int) -> bytes:
        while len(self._held) < count:
            self._fill()
        return self._held[:count]


def _encrypted(plain: socket.socket, host: str, verify: bool) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)
