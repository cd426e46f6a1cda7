"""A ComfyUI server over real HTTP and a real websocket: queue, history, uploads, pictures, training nodes.

Routes, bodies and messages as two real servers gave them (test_comfyui_contract.py compares); prompts "run" in a
thread, step by step. A training leaves what `weights` holds. `gate` cleared: the running prompt stands still.
`names_prompts` False: as servers before 2025, which choose prompt ids themselves. `version`: see comfyui_nodes.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import struct
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.doubles.comfyui_nodes import nodes_of, picture_of, refused
from tests.doubles.remote_faults import Book, FaultyHandler, Seen, as_json, form_parts

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LORAS = "loras"


@dataclass
class Prompt:
    number: int
    id: str
    workflow: dict[str, Any]
    extra: dict[str, Any]
    outputs: list[str]
    interrupted: bool = False
    messages: list[Any] = field(default_factory=list)
    made: dict[str, Any] = field(default_factory=dict)
    states: dict[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> list[Any]:
        return [self.number, self.id, self.workflow, self.extra, self.outputs]

    @property
    def client(self) -> str:
        return str(self.extra.get("client_id"))


@dataclass
class ComfyServer:
    """outcome: success, error, or nothing (it ends without a file). heard: prompts begin when somebody listens.

    pace: seconds a step. loras: files in models/loras. lists_uploads False: it does not look into output/loras.
    unmatched: what the server prints of weights that fit nothing. console False: it does not show what it prints.
    """

    weights: bytes = b""
    outcome: str = "success"
    heard: bool = False
    error: str = "CUDA out of memory"
    names_prompts: bool = True
    version: str = "0.28"
    loras: list[str] = field(default_factory=list)
    lists_uploads: bool = True
    max_upload: int = 100 * 2**20
    pace: float = 0.0
    unmatched: tuple[str, ...] = ()
    console: bool = True
    nodes: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    book: Book = field(default_factory=Book)
    inputs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    outputs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    temporary: dict[tuple[str, str], bytes] = field(default_factory=dict)
    running: Prompt | None = None
    waiting: list[Prompt] = field(default_factory=list)
    history: dict[str, Any] = field(default_factory=dict)
    printed: list[dict[str, str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    sockets: dict[str, Any] = field(default_factory=dict)
    _wake: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _ended: bool = False
    _number: int = 0
    _forgotten: Prompt | None = None
    _files: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.nodes = self.nodes or nodes_of(self.version)

    @property
    def prompts(self) -> int:
        """How many were ever queued."""
        return self._number

    def restart(self) -> None:
        """All prompts and temporary files are forgotten."""
        with self.book.lock:
            if self.running is not None:
                self.running.interrupted = True
            self.waiting.clear()
            self.history.clear()
            self.temporary.clear()
            self._forgotten = self.running

    def queue(self, workflow: dict[str, Any], extra: dict[str, Any], wanted: str | None) -> Prompt:
        with self.book.lock:
            self._number += 1
            name = wanted if wanted and self.names_prompts else str(uuid.uuid4())
            ends = [one for one, node in workflow.items() if self.nodes[node["class_type"]]["output_node"]]
            prompt = Prompt(self._number, name, workflow, extra, ends)
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
        while self.heard and not self._ended and prompt.client not in self.sockets:
            self._wake.wait(0.02)
        self._event(prompt, "execution_start", {})
        self._event(prompt, "execution_cached", {"nodes": []})
        for name, node in prompt.workflow.items():
            if failure := self._run_node(prompt, name, node):
                self._event(prompt, *failure)
                self._end(prompt, "error")
                return
        self._event(prompt, "execution_success", {})
        self._end(prompt, "success")

    def _run_node(self, prompt: Prompt, name: str, node: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """What ended the prompt at this node."""
        kind, given = node["class_type"], node["inputs"]
        where = {"node_id": name, "node_type": kind, "executed": []}
        told = {"value": 0.0, "max": 1.0, "state": "running", "node_id": name, "prompt_id": prompt.id}
        prompt.states[name] = {**told, "display_node_id": name, "parent_node_id": None, "real_node_id": name}
        self._state(prompt)
        self.tell(prompt, "executing", {"node": name, "display_node": name})
        trains = kind == "TrainLoraNode"
        rounds = given["steps"] * (given["grad_accumulation_steps"] if trains else 1) if "steps" in given else 1
        for step in range(1, rounds + 1):
            while not self.gate.wait(0.02) and not prompt.interrupted and not self._ended:
                pass
            if self.pace:
                self._stop.wait(self.pace)
            if prompt.interrupted:
                return "execution_interrupted", where
            if kind == "KSampler" or (trains and self.version == "0.28"):
                prompt.states[name] |= {"value": float(step), "max": float(rounds)}
                self._state(prompt)
                self.tell(prompt, "progress", {"value": step, "max": rounds, "node": name})
            if trains:
                bar = f"{step}/{rounds} [00:0{step % 10}<00:00,  1.00s/it, loss={1 / step:.4f}]"
                self.write(f"\rTraining LoRA: {100 * step // rounds:3}%|###   | {bar}")
        if self.outcome == "error" and kind in ("TrainLoraNode", "KSampler"):
            return "execution_error", {**where, **_exception(self.error)}
        try:
            self._make(prompt, name, kind, given)
        except OSError as error:
            return "execution_error", {**where, **_exception(str(error))}
        prompt.states[name] |= {"value": prompt.states[name]["max"], "state": "finished"}
        return None

    def _make(self, prompt: Prompt, name: str, kind: str, given: dict[str, Any]) -> None:
        """Raises OSError: of what is no picture."""
        if kind == "LoadImage":
            picture_of(prompt.workflow, name, self.inputs)
        if kind == "LoraLoader":
            for key in self.unmatched:
                self.write(f"lora key not loaded: {key}\n")
        if kind in ("SaveLoRA", "SaveLoRANode") and self.outcome == "success":
            folder, _, stem = given["prefix"].rpartition("/")
            self.outputs[folder, f"{stem}_00001_.safetensors"] = self.weights
        if kind == "LossGraphNode" or (kind == "PreviewImage" and self.outcome != "nothing"):
            file = f"ComfyUI_temp_abcde_{next(self._files):05}_.png"
            drawn = picture_of(prompt.workflow, name, self.inputs) if kind == "PreviewImage" else b"\x89PNG graph"
            self.temporary["", file] = drawn
            prompt.made[name] = {"images": [{"filename": file, "subfolder": "", "type": "temp"}]}
            self.tell(prompt, "executed", {"node": name, "display_node": name, "output": prompt.made[name]})

    def write(self, text: str) -> None:
        """A line that starts anew takes the place of the one that it overwrites on a screen."""
        if text.startswith("\r") and self.printed and not self.printed[-1]["m"].endswith("\n"):
            self.printed.pop()
        self.printed.append({"t": datetime.now().isoformat(), "m": text})

    def _state(self, prompt: Prompt) -> None:
        self.tell(prompt, "progress_state", {"nodes": prompt.states})

    def _event(self, prompt: Prompt, kind: str, data: dict[str, Any]) -> None:
        whole = {"prompt_id": prompt.id, **data, "timestamp": 1}
        prompt.messages.append([kind, whole])
        self.tell(prompt, kind, whole)

    def _end(self, prompt: Prompt, status: str) -> None:
        with self.book.lock:
            told = {"status_str": status, "completed": status == "success", "messages": prompt.messages}
            if self._forgotten is not prompt:
                self.history[prompt.id] = {"prompt": prompt.entry, "outputs": prompt.made, "status": told, "meta": {}}
            self.running = None
        self._wake.set()
        self.tell(prompt, "executing", {"node": None})

    def tell(self, prompt: Prompt, kind: str, data: dict[str, Any]) -> None:
        self.send(prompt.client, kind, {**data, "prompt_id": prompt.id})

    def send(self, client: str, kind: str, data: dict[str, Any]) -> None:
        message = json.dumps({"type": kind, "data": data}).encode()
        socket = self.sockets.get(client)
        if socket is None:
            return
        long = len(message) >= 126
        head = bytes([0x81, 126]) + struct.pack(">H", len(message)) if long else bytes([0x81, len(message)])
        try:
            socket.sendall(head + message)
        except OSError:
            self.sockets.pop(client, None)

    def answer(self, seen: Seen) -> tuple[int, bytes, str]:
        parts = urlsplit(seen.path)
        path, query = parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()}
        with self.book.lock:
            if path.startswith("/object_info/"):
                name = path.removeprefix("/object_info/")
                return as_json({name: self._declared()[name]} if name in self.nodes else {})
            if path == "/queue" and seen.method == "GET":
                running = [self.running.entry] if self.running else []
                return as_json({"queue_running": running, "queue_pending": [one.entry for one in self.waiting]})
            if path == "/queue":
                self.waiting = [one for one in self.waiting if one.id not in seen.json.get("delete", [])]
                return 200, b"", "application/octet-stream"
            if path == "/interrupt":
                if self.running is not None and seen.json.get("prompt_id", self.running.id) == self.running.id:
                    self.running.interrupted = True
                return 200, b"", "application/octet-stream"
            if path == "/history":
                return as_json(self.history)
            if path.startswith("/history/"):
                name = path.removeprefix("/history/")
                return as_json({name: self.history[name]} if name in self.history else {})
            if path == "/prompt":
                return self._prompt(seen)
            if path == "/upload/image":
                return self._upload(seen)
            if path == "/internal/logs/raw" and self.console:
                return as_json({"entries": self.printed, "size": {"cols": 80, "rows": 24}})
            if path == "/view":
                place = {"input": self.inputs, "temp": self.temporary}.get(query.get("type", "output"), self.outputs)
                content = place.get((query.get("subfolder", ""), query["filename"]))
                kind = "image/png" if query["filename"].endswith(".png") else "application/octet-stream"
                return (404, b"", kind) if content is None else (200, content, kind)
        return 404, b"", "text/plain"

    def _declared(self) -> dict[str, Any]:
        """The nodes, with the files that are there by now."""
        found: dict[str, Any] = json.loads(json.dumps(self.nodes))
        uploaded = [f"{folder}/{name}"[len(_LORAS) + 1 :] for folder, name in self.outputs if folder.startswith(_LORAS)]
        loras = sorted([*self.loras, *(uploaded if self.lists_uploads else [])])
        folders = sorted({folder for folder, _ in self.inputs})
        if "LoraLoader" in found:
            found["LoraLoader"]["input"]["required"]["lora_name"][0] = loras
        for name in ("LoadImageTextDataSetFromFolder", "LoadImageTextSetFromFolderNode"):
            if name in found:
                declared = found[name]["input"]["required"]["folder"]
                declared[0 if isinstance(declared[0], list) else 1] = (
                    folders if isinstance(declared[0], list) else {"options": folders}
                )
        if "LoadImage" in found:
            files = sorted("/".join(filter(None, place)) for place in self.inputs)
            found["LoadImage"]["input"]["required"]["image"][0] = files
        return found

    def _prompt(self, seen: Seen) -> tuple[int, bytes, str]:
        told = seen.json
        if refusal := refused(told.get("prompt"), self._declared()):
            return as_json(refusal, 400)
        extra = {**told.get("extra_data", {}), "client_id": told.get("client_id")}
        extra |= {"create_time": 1} if self.version == "0.28" else {}
        prompt = self.queue(told["prompt"], extra, told.get("prompt_id"))
        return as_json({"prompt_id": prompt.id, "number": prompt.number, "node_errors": {}})

    def _upload(self, seen: Seen) -> tuple[int, bytes, str]:
        if len(seen.body) > self.max_upload:
            return 413, b"Maximum request body size exceeded", "text/plain"
        given = form_parts(seen)
        name, folder, place = str(given["image"][0]), given["subfolder"][1].decode(), given["type"][1].decode()
        (self.outputs if place == "output" else self.inputs)[folder, name] = given["image"][1]
        return as_json({"name": name, "subfolder": folder, "type": place})


def _exception(message: str) -> dict[str, Any]:
    return {"exception_message": message, "exception_type": "RuntimeError", "traceback": []}


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
            status = {"exec_info": {"queue_remaining": len(server.waiting)}}
            server.send(client, "status", {"status": status, "sid": client})
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
        server._stop.set()
        server.gate.set()
        http.shutdown()
        http.server_close()
