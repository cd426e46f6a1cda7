"""A talk with a ComfyUI server that shows the shapes of its answers and messages: a real one's and the double's.

Recorded at real servers with a checkpoint of Stable Diffusion 1.5's layout: see tests/doubles/test_comfyui_contract.py.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from specrun.clients.remote_job import Part, form
from specrun.clients.websocket import WebSocket

_LONG = 400
"""Steps of a prompt that is interrupted."""


def picture_prompt(checkpoint: str, seed: int, steps: int) -> dict[str, Any]:
    sampler = {
        "model": ["base", 0], "positive": ["text", 0], "negative": ["text", 0], "latent_image": ["latent", 0],
        "seed": seed, "steps": steps, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
    }  # fmt: skip
    return {
        "base": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "text": {"class_type": "CLIPTextEncode", "inputs": {"text": "a reef", "clip": ["base", 1]}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "sample": {"class_type": "KSampler", "inputs": sampler},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["base", 2]}},
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["decode", 0]}},
    }


class Talk:
    """answers: what was asked → status and shape; messages: what happened → type of message → shape of its data."""

    def __init__(self, url: str, checkpoint: str) -> None:
        self.url, self.checkpoint = url.rstrip("/"), checkpoint
        self.answers: dict[str, Any] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        self.order: dict[str, list[str]] = {}
        self.client = uuid.uuid4().hex
        self.socket = WebSocket(f"{self.url}/ws?clientId={self.client}", timeout_s=60)

    def whole(self) -> dict[str, Any]:
        self._nodes()
        self._refusals()
        self._files()
        self._pictures()
        self._interruption()
        self._failure()
        self.socket.close()
        return {"answers": self.answers, "messages": self.messages, "order": self.order}

    def _nodes(self) -> None:
        for name in ("KSampler", "LoraLoader", "CheckpointLoaderSimple", "PreviewImage", "NoSuchNode"):
            self._get(f"node {name}", f"/object_info/{name}")

    def _refusals(self) -> None:
        good = picture_prompt(self.checkpoint, 1, 1)
        missing = {**good, "show": {"class_type": "PreviewImage", "inputs": {}}}
        base = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "no.safetensors"}}
        silent = {name: node for name, node in good.items() if name != "show"}
        for what, workflow in (
            ("unknown node", {"a": {"class_type": "NoSuchNode", "inputs": {}}}),
            ("missing input", missing),
            ("unknown file", {**good, "base": base}),
            ("no outputs", silent),
            ("nothing", None),
        ):
            self._post(f"refusal, {what}", "/prompt", {"prompt": workflow} if workflow else {})

    def _files(self) -> None:
        for place, name, content in (("input", "broken.png", b"no picture"), ("output", "x.safetensors", b"weights")):
            parts = [Part("image", content, name), Part("subfolder", b"loras/specrun"), Part("type", place.encode())]
            body, kind = form([*parts, Part("overwrite", b"true")])
            self._send(f"upload to {place}", "POST", "/upload/image", body, kind)
        self._get("node LoraLoader with a file", "/object_info/LoraLoader")
        self._get("no such file", "/view?filename=nothing.png&type=temp")

    def _pictures(self) -> None:
        seed = int(time.time())
        first = self._submit("submission", picture_prompt(self.checkpoint, seed, 4))
        second = self._submit("submission of a second", picture_prompt(self.checkpoint, seed + 1, _LONG))
        self._hear("picture", first, until=lambda kind, _: kind == "progress")
        self._get("queue", "/queue")
        self._post("deletion", "/queue", {"delete": [second]})
        self._hear("picture", first)
        found = self._history("history", first)
        file = found[first]["outputs"]["show"]["images"][0]
        query = f"filename={file['filename']}&subfolder={file['subfolder']}&type={file['type']}"
        self._get("picture", f"/view?{query}")
        self._get("history of nobody", "/history/nobody")

    def _interruption(self) -> None:
        found = self._submit("submission", picture_prompt(self.checkpoint, int(time.time()) + 7, _LONG))
        self._hear("interruption", found, until=lambda kind, _: kind == "progress")
        self._post("interruption of another", "/interrupt", {"prompt_id": "nobody"})
        self._post("interruption", "/interrupt", {"prompt_id": found})
        self._hear("interruption", found)
        self._history("history, interrupted", found)

    def _failure(self) -> None:
        workflow = {
            "load": {"class_type": "LoadImage", "inputs": {"image": "loras/specrun/broken.png"}},
            "show": {"class_type": "PreviewImage", "inputs": {"images": ["load", 0]}},
        }
        found = self._submit("submission", workflow)
        self._hear("failure", found)
        self._history("history, failed", found)

    def _history(self, what: str, prompt: str) -> Any:
        """A real server tells the end of a prompt before it is in the history."""
        for _ in range(100):
            if found := self._get(what, f"/history/{prompt}"):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{what}: {prompt} never gets there")

    def _submit(self, what: str, workflow: Mapping[str, Any]) -> str:
        content: dict[str, Any] = {"prompt": workflow, "client_id": self.client, "prompt_id": str(uuid.uuid4())}
        content["extra_data"] = {"specrun": "m"}
        told = self._post(what, "/prompt", content)
        assert told["prompt_id"] == content["prompt_id"]
        return str(told["prompt_id"])

    def _hear(self, what: str, prompt: str, until: Callable[[str, Any], bool] | None = None) -> None:
        """To the end of the prompt, or to a message."""
        order = self.order.setdefault(what, [])
        patience = time.monotonic() + 240
        while time.monotonic() < patience:
            text = self.socket.receive(1.0)
            if text is None:
                continue
            message = json.loads(text)
            kind, data = message["type"], message["data"]
            self.messages.setdefault(what, {})
            self.messages[what][kind] = _merged(self.messages[what].get(kind), shape(data))
            if not order or order[-1] != kind:
                order.append(kind)
            ended = kind in ("execution_success", "execution_error", "execution_interrupted")
            if (until and until(kind, data)) or (ended and data.get("prompt_id") == prompt):
                return
        raise AssertionError(f"{what}: nothing ended, heard {order}")

    def _get(self, what: str, path: str) -> Any:
        return self._send(what, "GET", path, None, None)

    def _post(self, what: str, path: str, content: Any) -> Any:
        return self._send(what, "POST", path, json.dumps(content).encode(), "application/json")

    def _send(self, what: str, method: str, path: str, body: bytes | None, kind: str | None) -> Any:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind} if kind else {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                status, content, told = answer.status, answer.read(), answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            status, content, told = error.code, error.read(), error.headers.get_content_type()
        found = json.loads(content) if told == "application/json" and content else None
        seen: dict[str, Any] = {"status": status}
        seen |= {"json": shape(found)} if found is not None else {"type": told if content else "empty"}
        self.answers[what] = seen
        return found


_OPEN = ("inputs", "extra_info", "current_inputs", "current_outputs", "tooltip", "output_tooltips")
"""What differs from node to node, or is text for people."""
_UNION = "one of"
_BY_ID = ("outputs", "nodes", "node_errors", "meta")
"""Keyed by ids of nodes."""


def shape(value: Any, name: str = "") -> Any:
    """Values as their types; keys that are ids as `*`, so that two servers can be compared."""
    match value:
        case dict():
            if name in _OPEN:
                return "open"
            if value and all(
                isinstance(one, dict) and "class_type" in one and "inputs" in one for one in value.values()
            ):
                return "workflow"
            if name in _BY_ID or _are_ids(value):
                return {"*": _all(value.values())} if value else {}
            return {str(key): shape(one, str(key)) for key, one in value.items() if key not in _OPEN}
        case list() if name == "messages":
            return {kind: shape(data) for kind, data in value}
        case list():
            return [_all(value)] if not _is_row(value) else [shape(one) for one in value]
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case None:
            return "null"
        case _:
            return "text"


def _is_row(value: list[Any]) -> bool:
    """Of different things by place: an entry of the queue, a declaration of an input."""
    return len({type(one) for one in value}) > 1


def _are_ids(value: dict[str, Any]) -> bool:
    return bool(value) and all(len(key) == 36 and key.count("-") == 4 for key in value)


def _all(values: Any) -> Any:
    found: Any = None
    for value in values:
        found = _merged(found, shape(value))
    return found


def _merged(one: Any, other: Any) -> Any:
    if one is None or one == other:
        return other
    if isinstance(one, dict) and isinstance(other, dict) and not {_UNION} & {*one, *other}:
        keys = dict.fromkeys([*one, *other])
        return {key: _merged(one.get(key), other[key]) if key in other else one[key] for key in keys}
    return one if other is None else {_UNION: sorted({*_options(one), *_options(other)})}


def _options(found: Any) -> list[str]:
    return list(found[_UNION]) if isinstance(found, dict) and _UNION in found else [json.dumps(found)]
