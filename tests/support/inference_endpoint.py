"""An inference endpoint on loopback: real HTTP, answers by a rule on the image's pixels."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Rule = Callable[[Any], Any]
"""(h, w, 3) uint8 RGB → the answer's JSON."""


@dataclass
class Asked:
    """One request as it came."""

    content_type: str
    authorization: str | None
    parameters: dict[str, Any]
    size_wh: tuple[int, int]


@dataclass
class InferenceEndpoint:
    """token: that must come along; None: anybody may ask. faults: (status, body) of the next answers."""

    rule: Rule
    token: str | None = None
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: list[tuple[int, Any]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def inference_endpoint(rule: Rule, *, token: str | None = None) -> Iterator[InferenceEndpoint]:
    state = InferenceEndpoint(rule, token)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with state.lock:
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            content = self.rfile.read(int(self.headers["Content-Length"]))
            status, body = _answer(state, dict(self.headers.items()), content)
            with state.lock:
                state.at_once -= 1
            encoded = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def server_bind(self) -> None:  # without asking the resolver for the host's name
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/models/plants?wait=1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(state: InferenceEndpoint, headers: dict[str, str], content: bytes) -> tuple[int, Any]:
    if state.token is not None and headers.get("Authorization") != f"Bearer {state.token}":
        return 401, {"error": "Invalid credentials in Authorization header"}
    with state.lock:
        if state.faults:
            return state.faults.pop(0)
    kind, parameters, image = headers["Content-Type"], {}, content
    if kind == "application/json":
        sent = json.loads(content)
        parameters, image = sent["parameters"], base64.b64decode(sent["inputs"])
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    with state.lock:
        size_wh = pixels.shape[1], pixels.shape[0]
        state.asked.append(Asked(kind, headers.get("Authorization"), parameters, size_wh))
    return 200, state.rule(pixels)


def png_mask(bitmap: Any) -> str:
    """As the Hub writes masks: a gray PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(np.where(bitmap, 255, 0).astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
