"""Replicate's API over real HTTP, and a delivery host beside it that asks for no token.

A training goes on by one status each time it is asked for, through `course`; `gate` cleared: it stays where it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.doubles.remote_faults import Book, FaultyHandler, Seen, as_json, form_parts

LOG = "  5/20 [00:05<00:15] loss: 0.5000\n 20/20 [00:20<00:00] loss: 0.1250\n"


@dataclass
class ReplicateServer:
    """course: statuses that a training goes through. output: what it has in the end; None: weights."""

    weights: bytes = b""
    token: str = "r8-secret"
    course: tuple[str, ...] = ("starting", "processing", "succeeded")
    logs: str = LOG
    output: Any = None
    error: str | None = None
    url: str = ""
    delivery_url: str = ""
    book: Book = field(default_factory=Book)
    delivery: Book = field(default_factory=Book)
    files: dict[str, bytes] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    trainings: dict[str, dict[str, Any]] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    page: int = 2

    def answer(self, seen: Seen) -> tuple[int, bytes, str]:
        if seen.headers.get("authorization") != f"Bearer {self.token}":
            return as_json({"title": "Unauthenticated", "detail": "no such token"}, 401)
        whole = urlsplit(seen.path)
        parts = whole.path.strip("/").split("/")[1:]
        with self.book.lock:
            match (seen.method, parts):
                case ("GET", ["models", _, _, "versions", version]):
                    return as_json({"id": version})
                case ("GET", ["models", owner, name]):
                    known = f"{owner}/{name}" in self.models
                    return as_json({"name": name} if known else {"detail": "not found"}, 200 if known else 404)
                case ("POST", ["models"]):
                    self.models.add(f"{seen.json['owner']}/{seen.json['name']}")
                    return as_json(seen.json, 201)
                case ("POST", ["files"]):
                    name = f"file{len(self.files)}"
                    self.files[name] = form_parts(seen)["content"][1]
                    return as_json({"id": name, "urls": {"get": f"{self.url}/v1/files/{name}"}}, 201)
                case ("POST", ["models", owner, name, "versions", version, "trainings"]):
                    return self._start(f"{owner}/{name}", version, seen)
                case ("GET", ["trainings"]):
                    return self._list(whole.query)
                case ("GET", ["trainings", name]) if name in self.trainings:
                    return as_json(self._moved_on(self.trainings[name]))
                case ("POST", ["trainings", name, "cancel"]) if name in self.trainings:
                    self.trainings[name] |= {"status": "canceled", "course": ()}
                    return as_json(self.trainings[name])
        return as_json({"detail": "not found"}, 404)

    def _start(self, model: str, version: str, seen: Seen) -> tuple[int, bytes, str]:
        name = f"training{len(self.trainings)}"
        told = {"id": name, "model": model, "version": version, "input": seen.json["input"], "logs": "", "output": None}
        self.trainings[name] = {**told, "status": self.course[0], "course": self.course[1:], "error": None}
        return as_json(self.trainings[name], 201)

    def _list(self, query: str) -> tuple[int, bytes, str]:
        begin = int(query.removeprefix("cursor=") or 0) if query else 0
        whole = list(reversed(self.trainings.values()))
        more = begin + self.page < len(whole)
        following = f"{self.url}/v1/trainings?cursor={begin + self.page}" if more else None
        return as_json({"next": following, "previous": None, "results": whole[begin : begin + self.page]})

    def _moved_on(self, training: dict[str, Any]) -> dict[str, Any]:
        shown = dict(training)
        if self.gate.is_set() and training["course"]:
            training["status"], training["course"] = training["course"][0], training["course"][1:]
            if training["status"] == "processing":
                training["logs"] = self.logs[: len(self.logs) // 2]
            if training["status"] in ("succeeded", "failed"):
                made = {"version": "me/x:1", "weights": f"{self.delivery_url}/out/trained_model.tar"}
                output = made if self.output is None else self.output
                training |= {"logs": self.logs, "error": self.error, "metrics": {"predict_time": 120.0}}
                training["output"] = output if training["status"] == "succeeded" else None
        return shown


@contextmanager
def replicate_double(**values: Any) -> Iterator[ReplicateServer]:
    server = ReplicateServer(**values)
    server.gate.set()

    class Api(FaultyHandler):
        book = server.book

        def answer(self, seen: Seen) -> tuple[int, bytes, str]:
            return server.answer(seen)

    class Delivery(FaultyHandler):
        book = server.delivery

        def answer(self, seen: Seen) -> tuple[int, bytes, str]:
            return 200, server.weights, "application/octet-stream"

    hosts = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Api, Delivery)]
    server.url, server.delivery_url = (f"http://127.0.0.1:{host.server_port}" for host in hosts)
    for host in hosts:
        host.daemon_threads = True
        threading.Thread(target=host.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        for host in hosts:
            host.shutdown()
            host.server_close()
