"""Servers that caption pictures, over real HTTP on loopback: Hugging Face inference, OpenAI's protocol, a LLaVA worker.

What they say depends on the picture alone: its size and its middle colour.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from PIL import Image


@dataclass
class Fault:
    """What the next answers are instead. seconds: of `estimated_time`, with status 503."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    times: int = 1


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class CaptionServer:
    """token: what Authorization must hold; None: nothing is asked. speaks: hf, openai or llava."""

    speaks: str = "openai"
    token: str | None = None
    url: str = ""
    says: str = "a {color} picture of {width} by {height}"
    seen: list[Seen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    most_at_once: int = 0
    _at_once: int = 0
    gate: threading.Barrier | None = None

    @property
    def captions_asked(self) -> int:
        return sum(1 for one in self.seen if one.method == "POST" and "get_status" not in one.path)

    def caption(self, data: bytes) -> str:
        image = Image.open(BytesIO(data)).convert("RGB")
        middle = image.getpixel((image.width // 2, image.height // 2))
        assert isinstance(middle, tuple)
        color = ("red", "green", "blue")[max(range(3), key=lambda i: middle[i])]
        return self.says.format(color=color, width=image.width, height=image.height)

    def answer(self, seen: Seen) -> tuple[int, bytes, str]:
        if self.token is not None and seen.headers.get("authorization") != f"Bearer {self.token}":
            return (
                401,
                json.dumps({"error": {"message": f"bad key {seen.headers.get('authorization')}"}}).encode(),
                JSON,
            )
        with self.lock:
            if self.faults and seen.method == "POST":
                fault = self.faults[0]
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.pop(0)
                return fault.status, fault.body, fault.content_type
        match self.speaks:
            case "hf":
                return self._inference(seen)
            case "llava":
                return self._worker(seen)
            case _:
                return self._openai(seen)

    def _inference(self, seen: Seen) -> tuple[int, bytes, str]:
        if seen.method != "POST" or not seen.path.startswith("/models/"):
            return 404, b"Not Found", "text/plain"
        return 200, json.dumps([{"generated_text": self.caption(seen.body)}]).encode(), JSON

    def _openai(self, seen: Seen) -> tuple[int, bytes, str]:
        if seen.path == "/v1/models":
            return 200, json.dumps({"object": "list", "data": [{"id": "eyes-7b", "object": "model"}]}).encode(), JSON
        if seen.path != "/v1/chat/completions":
            return 404, b'{"error": {"message": "no such path"}}', JSON
        words, picture = seen.json["messages"][0]["content"]
        assert words["type"] == "text"
        head, _, data = picture["image_url"]["url"].partition(",")
        assert head.startswith("data:image/")
        assert head.endswith(";base64")
        said = self.caption(base64.b64decode(data))
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        return 200, json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode(), JSON

    def _worker(self, seen: Seen) -> tuple[int, bytes, str]:
        if seen.path == "/worker_get_status":
            return 200, json.dumps({"model_names": ["llava-v1.5-7b"], "speed": 1, "queue_length": 0}).encode(), JSON
        if seen.path != "/worker_generate_stream":
            return 404, b'{"detail": "Not Found"}', JSON
        said = self.caption(base64.b64decode(seen.json["images"][0]))
        prompt = seen.json["prompt"]
        pieces = [f"{prompt} {said[: len(said) // 2]}", f"{prompt} {said}"]
        body = b"".join(json.dumps({"text": text, "error_code": 0}).encode() + b"\0" for text in pieces)
        return 200, body, "application/octet-stream"


JSON = "application/json"


@contextmanager
def caption_server(speaks: str, **settings: Any) -> Iterator[CaptionServer]:
    double = CaptionServer(speaks, **settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, body)
            with double.lock:
                double.seen.append(seen)
                double._at_once += 1
                double.most_at_once = max(double.most_at_once, double._at_once)
            if double.gate is not None and self.command == "POST":
                double.gate.wait(10)
            status, answer, kind = double.answer(seen)
            with double.lock:
                double._at_once -= 1
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
