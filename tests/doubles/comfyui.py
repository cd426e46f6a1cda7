"""A ComfyUI server over real HTTP and a real websocket: queue, history, uploads, outputs, training nodes.

Routes, bodies and messages as in ComfyUI's server.py and execution.py; a training "runs" step by step in a thread and
leaves what `weights` holds. `gate` cleared: the running prompt stands still. `names_prompts` False: as servers before
2025, which choose prompt ids themselves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.doubles.remote_faults import Book, FaultyHandler, Seen, as_json, form_parts

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MODEL, _STRING, _INT = ["MODEL"], ["STRING", {}], ["INT", {"default": 1}]


def default_nodes() -> dict[str, Any]:
    def node(required: dict[str, Any], output: list[str], optional: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"input": {"required": required, "optional": optional or {}}, "output": output}

    training = {
        "model": _MODEL,
        "latents": ["LATENT"],
        "positive": ["CONDITIONING"],
        **dict.fromkeys(("batch_size", "grad_accumulation_steps", "steps", "rank", "seed"), _INT),
        "learning_rate": ["FLOAT", {"default": 0.0005}],
        "optimizer": ["COMBO", {"options": ["AdamW", "Adam"], "default": "AdamW"}],
        "loss_function": ["COMBO", {"options": ["MSE", "L1"]}],
        "training_dtype": [["bf16", "fp32"], {"default": "bf16"}],
        "lora_dtype": [["bf16", "fp32"], {"default": "bf16"}],
        "algorithm": ["COMBO", {"options": ["LoRA", "LoKr"]}],
        "gradient_checkpointing": ["BOOLEAN", {"default": True}],
        "bucket_mode": ["BOOLEAN", {"default": False}],
        "existing_lora": ["COMBO", {"options": ["[None]"]}],
    }
    return {
        "CheckpointLoaderSimple": node(
            {"ckpt_name": [["tiny.safetensors", "xl/base.safetensors"], {}]}, ["MODEL", "CLIP", "VAE"]
        ),
        "VAEEncode": node({"pixels": ["IMAGE"], "vae": ["VAE"]}, ["LATENT"]),
        "CLIPTextEncode": node({"text": _STRING, "clip": ["CLIP"]}, ["CONDITIONING"]),
        "LoadImageTextDataSetFromFolder": node({"folder": ["COMBO", {"options": []}]}, ["IMAGE", "STRING"]),
        "TrainLoraNode": node(training, ["LORA_MODEL", "LOSS_MAP", "INT"]),
        "SaveLoRA": node({"lora": ["LORA_MODEL"], "prefix": _STRING}, [], {"steps": _INT}),
        "LossGraphNode": node({"loss": ["LOSS_MAP"], "filename_prefix": _STRING}, []),
        "SaveImage": node({"images": ["IMAGE"], "filename_prefix": _STRING}, []),
    }


@dataclass
class Prompt:
    number: int
    id: str
    workflow: dict[str, Any]
    extra: dict[str, Any]
    interrupted: bool = False

    @property
    def entry(self) -> list[Any]:
        return [self.number, self.id, self.workflow, self.extra, []]


@dataclass
class ComfyServer:
    """outcome: success, error, or nothing (it ends without a file). heard: prompts begin when somebody listens."""

    weights: bytes = b""
    outcome: str = "success"
    heard: bool = False
    error: str = "CUDA out of memory"
    names_prompts: bool = True
    nodes: dict[str, Any] = field(default_factory=default_nodes)
    url: str = ""
    book: Book = field(default_factory=Book)
    inputs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    outputs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    running: Prompt | None = None
    waiting: list[Prompt] = field(default_factory=list)
    history: dict[str, Any] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    sockets: dict[str, Any] = field(default_factory=dict)
    _wake: threading.Event = field(default_factory=threading.Event)
    _ended: bool = False
    _number: int = 0

    @property
    def prompts(self) -> int:
        """How many were ever queued."""
        return self._number

    def queue(self, workflow: dict[str, Any], extra: dict[str, Any], wanted: str | None) -> Prompt:
        with self.book.lock:
            self._number += 1
            name = wanted if wanted and self.names_prompts else str(uuid.uuid4())
            prompt = Prompt(self._number, name, workflow, extra)
            self.waiting.append(prompt)
        self._wake.set()
        return prompt

    def work(self) -> None:
        while not self._ended:
            self._wake.wait(0.05)
            self._wake.clear()
            with self.book.lock:
                self.running = self.waiting.pop(0) if self.waiting and self.running is None else None
            if self.running is not None:
                self._execute(self.running)

    def _execute(self, prompt: Prompt) -> None:
        while self.heard and not self._ended and str(prompt.extra.get("client_id")) not in self.sockets:
            self._wake.wait(0.02)
        self.tell(prompt, "execution_start", {})
        steps = int(prompt.workflow.get("train", {}).get("inputs", {}).get("steps", 1))
        for step in range(1, steps + 1):
            while not self.gate.wait(0.02):
                if prompt.interrupted or self._ended:
                    break
            if prompt.interrupted:
                self._end(prompt, "error", [["execution_interrupted", {"prompt_id": prompt.id}]], {})
                return
            self.tell(prompt, "progress", {"value": step, "max": steps, "node": "train"})
        if self.outcome == "error":
            told = {"prompt_id": prompt.id, "node_type": "TrainLoraNode", "exception_message": self.error}
            self._end(prompt, "error", [["execution_error", told]], {})
            return
        self._end(prompt, "success", [["execution_success", {"prompt_id": prompt.id}]], self._outputs(prompt))

    def _outputs(self, prompt: Prompt) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, node in prompt.workflow.items():
            if node["class_type"] == "SaveLoRA" and self.outcome == "success":
                folder, _, stem = node["inputs"]["prefix"].rpartition("/")
                self.outputs[folder, f"{stem}_00001_.safetensors"] = self.weights
            if node["class_type"] in ("LossGraphNode", "SaveImage"):
                self.outputs["", f"{name}_00001_.png"] = b"\x89PNG picture"
                found[name] = {"images": [{"filename": f"{name}_00001_.png", "subfolder": "", "type": "temp"}]}
        return found

    def _end(self, prompt: Prompt, status: str, messages: list[Any], outputs: dict[str, Any]) -> None:
        with self.book.lock:
            told = {"status_str": status, "completed": status == "success", "messages": messages}
            self.history[prompt.id] = {"prompt": prompt.entry, "outputs": outputs, "status": told}
            self.running = None
        self._wake.set()
        self.tell(prompt, messages[-1][0], {})

    def tell(self, prompt: Prompt, kind: str, data: dict[str, Any]) -> None:
        message = json.dumps({"type": kind, "data": {**data, "prompt_id": prompt.id}}).encode()
        socket = self.sockets.get(str(prompt.extra.get("client_id")))
        if socket is not None:
            head = (
                bytes([0x81, len(message)])
                if len(message) < 126
                else bytes([0x81, 126]) + struct.pack(">H", len(message))
            )
            try:
                socket.sendall(head + message)
            except OSError:
                self.sockets.pop(str(prompt.extra.get("client_id")), None)

    def answer(self, seen: Seen) -> tuple[int, bytes, str]:
        parts = urlsplit(seen.path)
        path, query = parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()}
        with self.book.lock:
            if path.startswith("/object_info/"):
                name = path.removeprefix("/object_info/")
                return as_json({name: self.nodes[name]} if name in self.nodes else {})
            if path == "/queue" and seen.method == "GET":
                running = [self.running.entry] if self.running else []
                return as_json({"queue_running": running, "queue_pending": [one.entry for one in self.waiting]})
            if path == "/queue":
                self.waiting = [one for one in self.waiting if one.id not in seen.json.get("delete", [])]
                return 200, b"", "text/plain"
            if path == "/interrupt":
                if self.running is not None and seen.json.get("prompt_id", self.running.id) == self.running.id:
                    self.running.interrupted = True
                return 200, b"", "text/plain"
            if path == "/history":
                return as_json(self.history)
            if path.startswith("/history/"):
                name = path.removeprefix("/history/")
                return as_json({name: self.history[name]} if name in self.history else {})
            if path == "/prompt":
                return self._prompt(seen)
            if path == "/upload/image":
                given = form_parts(seen)
                name, folder = str(given["image"][0]), given["subfolder"][1].decode()
                self.inputs[folder, name] = given["image"][1]
                return as_json({"name": name, "subfolder": folder, "type": "input"})
            if path == "/view":
                content = self.outputs.get((query.get("subfolder", ""), query["filename"]))
                return (404, b"", "text/plain") if content is None else (200, content, "application/octet-stream")
        return 404, b"", "text/plain"

    def _prompt(self, seen: Seen) -> tuple[int, bytes, str]:
        told = seen.json
        unknown = [node["class_type"] for node in told["prompt"].values() if node["class_type"] not in self.nodes]
        if unknown:
            error = {"type": "invalid_prompt", "message": f"Node {unknown[0]} does not exist"}
            return as_json({"error": error, "node_errors": {}}, 400)
        extra = {**told.get("extra_data", {}), "client_id": told.get("client_id")}
        prompt = self.queue(told["prompt"], extra, told.get("prompt_id"))
        return as_json({"prompt_id": prompt.id, "number": prompt.number, "node_errors": {}})


@contextmanager
def comfy_double(**values: Any) -> Iterator[ComfyServer]:
    server = ComfyServer(**values)
    server.gate.set()

    class Handler(FaultyHandler):
        book = server.book

        def answer(self, seen: Seen) -> tuple[int, bytes, str]:
            return server.answer(seen)

        def do_GET(self) -> None:
            if self.path.startswith("/ws"):
                self._websocket()
            else:
                self.serve()

        def _websocket(self) -> None:
            client = parse_qs(urlsplit(self.path).query)["clientId"][0]
            key = self.headers["Sec-WebSocket-Key"] + _MAGIC
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            self.send_response(101)
            for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
                self.send_header(name, value)
            self.end_headers()
            server.sockets[client] = self.connection
            self.close_connection = True
            try:
                while self.connection.recv(1024):
                    pass
            except OSError:
                pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    threads = [threading.Thread(target=work, daemon=True) for work in (http.serve_forever, server.work)]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        server._ended = True
        server.gate.set()
        http.shutdown()
        http.server_close()
