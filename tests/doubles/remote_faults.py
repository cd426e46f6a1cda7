"""Faults that a server double shows in its next answers, and what it was asked."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any


@dataclass
class Fault:
    """after: the request is carried out first, and then there is this answer; drop: none at all."""

    method: str
    path: str
    status: int = 500
    body: bytes = b"{}"
    drop: bool = False
    after: bool = False
    times: int = 1


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Book:
    seen: list[Seen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def asked(self, method: str, path: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method and re.fullmatch(path, one.path.split("?")[0])]

    def fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for one in self.faults:
                if one.times > 0 and one.method == method and re.fullmatch(one.path, path.split("?")[0]):
                    one.times -= 1
                    return one
        return None


class FaultyHandler(BaseHTTPRequestHandler):
    """`book` and `answer(seen) -> (status, content, content type)` are given by the double."""

    protocol_version = "HTTP/1.1"
    book: Book

    def answer(self, seen: Seen) -> tuple[int, bytes, str]:
        raise NotImplementedError

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        with self.book.lock:
            self.book.seen.append(seen)
        fault = self.book.fault(self.command, self.path)
        status, content, kind = (0, b"", "") if fault and not fault.after else self.answer(seen)
        if fault is not None:
            status, content, kind = fault.status, fault.body, "application/json"
            if fault.drop:
                self.close_connection = True
                self.connection.close()
                return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def log_message(self, *_: Any) -> None:
        pass


def as_json(content: Any, status: int = 200) -> tuple[int, bytes, str]:
    return status, json.dumps(content).encode(), "application/json"


def form_parts(seen: Seen) -> dict[str, tuple[str | None, bytes]]:
    """name → (file name, content) of a multipart form."""
    boundary = seen.headers["content-type"].split("boundary=")[1].encode()
    found: dict[str, tuple[str | None, bytes]] = {}
    for part in seen.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb' name="([^"]*)"', head)
        file = re.search(rb'filename="([^"]*)"', head)
        assert name is not None
        found[name[1].decode()] = (file[1].decode() if file else None, content.removesuffix(b"\r\n"))
    return found
