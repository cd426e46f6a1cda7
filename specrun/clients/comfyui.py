"""A ComfyUI server: its nodes, files that go in and out, and workflows that it runs.

A prompt is named by the client where the server allows that (`prompt_id` in POST /prompt); what it answers counts.
`extra_data.specrun` carries a marker by which a prompt is found again in /queue and /history.
Source: ComfyUI's server.py and execution.py, main branch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from specrun.clients.downloads import download
from specrun.clients.http import Http, Request, Retry, Timeouts, host_of
from specrun.clients.remote_job import JobState, Part, content_of, form, nonsense, refusal
from specrun.clients.websocket import WebSocket
from specrun.errors import NodeError, TransientError

Workflow = Mapping[str, Mapping[str, Any]]
"""Node id → `{class_type, inputs}`: the API format, not the one that the editor saves."""
_MARK = "specrun"
_LOOKED_BACK = 500
_LONGEST_REFUSAL = 600


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of a prompt. outputs: node id → kind of output → list of files (`{filename, subfolder, type}`)."""

    state: JobState
    ahead: int = 0
    error: str = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """Progress within one node of a prompt."""

    prompt: str
    node: str
    done: float
    total: float


class Comfy:
    """One server. check_stop: called before requests and in waits."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout_s: float = 60.0,
        retry: Retry | None = None,
        verify_tls: bool = True,
        check_stop: Callable[[], None] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.verify_tls = verify_tls
        timeouts = Timeouts(read_s=timeout_s)
        self._http = Http(self.url, timeouts=timeouts, retry=retry, verify_tls=verify_tls, check_stop=check_stop)
        self._private = {"Authorization": f"Bearer {token}"} if token else {}

    @property
    def host(self) -> str:
        return host_of(self.url)

    def close(self) -> None:
        self._http.close()

    def wait(self, seconds: float) -> None:
        self._http.wait(seconds)

    def node(self, name: str) -> Mapping[str, Any] | None:
        """What the server says of a node class; None: it has none of that name."""
        found = self._get(f"/object_info/{quote(name)}", f"its node {name}")
        told = found.get(name)
        if told is not None and not (isinstance(told, Mapping) and isinstance(told.get("input"), Mapping)):
            raise nonsense(self.url, f"its node {name}")
        return told

    def upload(
        self, name: str, content: bytes, subfolder: str, content_type: str = "image/png", place: str = "input"
    ) -> str:
        """Into the server's input or output folder; the same file twice changes nothing. The name that it got."""
        parts = [
            Part("image", content, name, content_type),
            Part("subfolder", subfolder.encode()),
            Part("type", place.encode()),
            Part("overwrite", b"true"),
        ]
        body, kind = form(parts)
        headers = {"Content-Type": kind}
        answer = self._http.send(
            Request("POST", "/upload/image", headers=headers, private=self._private, body=body, again=True)
        )
        return str(content_of(answer, self.url, f"the upload of {name}").get("name", name))

    def submit(self, workflow: Workflow, *, prompt_id: str, client_id: str, marker: str) -> str:
        """Queue a workflow, once; its id. Raises NodeError: the server refuses it; TransientError: who knows."""
        content = {
            "prompt": workflow,
            "client_id": client_id,
            "prompt_id": prompt_id,
            "extra_data": {_MARK: marker},
        }
        answer = self._http.send(self._post("/prompt", content, again=False))
        if answer.status == 400 and (reason := read_refusal(answer.body)):
            raise NodeError(f"{self.host}: refuses the workflow: {reason}", hint="Does the server lack a file or node?")
        told = content_of(answer, self.url, "the workflow")
        found = told.get("prompt_id")
        if not isinstance(found, str) or not found:
            raise nonsense(self.url, "the workflow")
        return found

    def queue(self) -> tuple[list[Any], list[Any]]:
        """Entries that run and that wait: `[number, prompt id, workflow, extra data, …]`."""
        told = self._get("/queue", "its queue")
        running, waiting = told.get("queue_running"), told.get("queue_pending")
        if not isinstance(running, list) or not isinstance(waiting, list):
            raise nonsense(self.url, "its queue")
        return running, sorted(waiting, key=lambda entry: entry[0] if isinstance(entry, list) and entry else 0)

    def ours(self) -> int:
        """How many prompts of specrun run or wait."""
        return sum(1 for entries in self.queue() for entry in entries if _marker(entry) is not None)

    def find(self, marker: str) -> str | None:
        """The id of the prompt with that marker, wherever it is by now."""
        running, waiting = self.queue()
        for entry in (*running, *waiting):
            if _marker(entry) == marker:
                return str(entry[1])
        told = self._get("/history", "its history", max_items=_LOOKED_BACK)
        for name, item in told.items():
            if isinstance(item, Mapping) and _marker(item.get("prompt")) == marker:
                return str(name)
        return None

    def report(self, prompt_id: str) -> Report | None:
        """None: the server does not know it (any more)."""
        for _ in range(2):  # between the two questions it may go from the queue to the history
            ended = self._get(f"/history/{quote(prompt_id)}", f"prompt {prompt_id}").get(prompt_id)
            if ended is not None:
                return _ended(ended, self.url, prompt_id)
            running, waiting = self.queue()
            if any(_id(entry) == prompt_id for entry in running):
                return Report(JobState.RUNNING)
            places = [place for place, entry in enumerate(waiting) if _id(entry) == prompt_id]
            if places:
                return Report(JobState.QUEUED, ahead=places[0] + len(running))
        return None

    def console(self) -> list[tuple[str, str]]:
        """When and what the server printed lately, some 300 lines. Raises NodeError: it does not show it."""
        entries = self._get("/internal/logs/raw", "its console").get("entries")
        if not isinstance(entries, list):
            raise nonsense(self.url, "its console")
        return [(str(one.get("t")), str(one.get("m"))) for one in entries if isinstance(one, Mapping)]

    def cancel(self, prompt_id: str) -> None:
        """Take it out of the queue, or interrupt it; never what somebody else runs there."""
        self._done(self._post("/queue", {"delete": [prompt_id]}, again=True), "taking a prompt out of the queue")
        running, _ = self.queue()
        if any(_id(entry) == prompt_id for entry in running):
            self._done(self._post("/interrupt", {"prompt_id": prompt_id}, again=True), "the interruption")

    def listen(self, client_id: str) -> WebSocket:
        """Raises OSError."""
        url = f"{self.url}/ws?clientId={quote(client_id)}"
        return WebSocket(url, self._private, verify_tls=self.verify_tls)

    def fetch(self, file: Mapping[str, Any], target: Path) -> Path:
        """A file of an output. Raises NodeError: it is not there."""
        asked = {name: file.get(name, "") for name in ("filename", "subfolder")}
        request = Request("GET", "/view", query={**asked, "type": file.get("type", "output")}, private=self._private)
        answer = download(self._http, request, target)
        if answer.status >= 300:
            raise refusal(answer, self.url, f"the file {asked['filename']}")
        return target

    def _get(self, path: str, what: str, **query: Any) -> dict[str, Any]:
        answer = self._http.send(Request("GET", path, query=query, private=self._private))
        found: dict[str, Any] = content_of(answer, self.url, what)
        return found

    def _post(self, path: str, content: Any, *, again: bool) -> Request:
        headers = {"Content-Type": "application/json"}
        body = json.dumps(content).encode()
        return Request("POST", path, headers=headers, private=self._private, body=body, again=again)

    def _done(self, request: Request, what: str) -> None:
        answer = self._http.send(request)
        if answer.status >= 300:
            raise refusal(answer, self.url, what)


class Progress:
    """The websocket of a prompt, opened again when it breaks; without one only the waiting is left.

    prompt_id: None: of all prompts that the client submitted.
    """

    def __init__(self, comfy: Comfy, client_id: str, prompt_id: str | None = None) -> None:
        self._comfy, self._client_id, self._prompt_id = comfy, client_id, prompt_id
        self._socket: WebSocket | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def steps(self, seconds: float) -> list[Step]:
        """What comes within that time; sooner when a prompt ends."""
        until = time.monotonic() + seconds
        found: list[Step] = []
        while (left := until - time.monotonic()) > 0:
            try:
                self._socket = self._socket or self._comfy.listen(self._client_id)
                self._comfy.wait(0)
                text = self._socket.receive(min(left, 0.2))
            except OSError:
                self.close()
                self._comfy.wait(max(0.0, until - time.monotonic()))
                return found
            steps, ended = read_message(text, self._prompt_id) if text else ([], False)
            found += steps
            if ended:
                return found
        return found


def read_message(text: str, prompt_id: str | None) -> tuple[list[Step], bool]:
    """Progress of our prompt in a message, and whether it says that the prompt ended. prompt_id: None: of any.

    `progress_state`, of servers since the middle of 2025, tells of all nodes; `progress` of the one that runs.
    """
    try:
        message = json.loads(text)
        kind, data = message["type"], message["data"]
        whose = str(data.get("prompt_id") or prompt_id or "")
        if prompt_id is not None and whose != prompt_id:
            return [], False
        if kind == "progress":
            return [Step(whose, str(data.get("node")), float(data["value"]), float(data["max"]))], False
        if kind == "progress_state":
            states = data["nodes"].items()
            return [Step(whose, str(n), float(s["value"]), float(s["max"])) for n, s in states], False
    except (ValueError, KeyError, TypeError, AttributeError):
        return [], False
    ended = kind in ("execution_success", "execution_error", "execution_interrupted")
    return [], ended or (kind == "executing" and data.get("node") is None and "prompt_id" in data)


def read_refusal(body: bytes) -> str:
    """What is wrong with a workflow, node by node; empty: the answer does not say."""
    try:
        told = json.loads(body)
        nodes = (told.get("node_errors") or {}).values()
        found = [(node.get("class_type"), one) for node in nodes for one in node.get("errors") or []]
        parts = [f"{name}: {one.get('message')}: {one.get('details')}" for name, one in found]
        error = told.get("error") or {}
        whole = error if isinstance(error, str) else f"{error.get('message') or ''} {error.get('details') or ''}"
    except (ValueError, AttributeError, TypeError):
        return ""
    return " ".join("; ".join(parts or [whole]).split())[:_LONGEST_REFUSAL]


def inputs_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """Name → declaration of a node's inputs, required and optional."""
    told = node["input"]
    return {**(told.get("required") or {}), **(told.get("optional") or {})}


def choices_of(declared: Any) -> list[str]:
    """Of an input's declaration: `[[a, b], {…}]`, or newer `["COMBO", {"options": [a, b]}]`."""
    if not isinstance(declared, Sequence) or isinstance(declared, str) or not declared:
        return []
    if isinstance(declared[0], list):
        return [str(one) for one in declared[0]]
    more = declared[1] if len(declared) > 1 else None
    options = more.get("options") if isinstance(more, Mapping) else None
    return [str(one) for one in options] if isinstance(options, list) else []


def known_file(comfy: Comfy, wanted: str, known: Sequence[str], what: str, remedy: str) -> str:
    """As the server lists it: wanted may lack its folder or its ending. Raises NodeError: the server has none such."""
    wanted = wanted.replace("\\", "/")
    names = [(one, one.replace("\\", "/")) for one in known]
    files = [(one, name.rsplit("/", 1)[-1]) for one, name in names]
    for written in (names, files):
        for one, name in written:
            if wanted in (name, name.rpartition(".")[0]):
                return one
    listed = ", ".join(known[:5]) + (" …" if len(known) > 5 else "")
    raise NodeError(f"{comfy.host}: the server has no {what} {wanted}.", hint=f"{remedy}: {listed or 'it has none'}.")


def _id(entry: Any) -> str | None:
    return str(entry[1]) if isinstance(entry, list) and len(entry) > 1 else None


def _marker(entry: Any) -> str | None:
    if not isinstance(entry, list) or len(entry) < 4 or not isinstance(entry[3], Mapping):
        return None
    found = entry[3].get(_MARK)
    return found if isinstance(found, str) else None


def _ended(item: Any, url: str, prompt_id: str) -> Report:
    if not isinstance(item, Mapping) or not isinstance(item.get("outputs"), Mapping):
        raise nonsense(url, f"prompt {prompt_id}")
    status = item.get("status") or {}
    messages = [one for one in status.get("messages") or [] if isinstance(one, list) and len(one) == 2]
    if any(kind == "execution_interrupted" for kind, _ in messages):
        return Report(JobState.CANCELLED, error="it was interrupted at the server", outputs=item["outputs"])
    if status.get("status_str") == "error":
        told = [data for kind, data in messages if kind == "execution_error" and isinstance(data, Mapping)]
        where = f"{told[-1].get('node_type')}: {told[-1].get('exception_message')}" if told else "without a reason"
        return Report(JobState.FAILED, error=" ".join(where.split()), outputs=item["outputs"])
    return Report(JobState.COMPLETED, outputs=item["outputs"])


def least_busy(servers: Sequence[Comfy], max_jobs: int, log: Callable[[str], None]) -> Comfy | None:
    """The server of a pool with least to do; None: each has max_jobs of ours. Raises TransientError: none answers."""
    loads: list[tuple[int, int]] = []
    failures: list[str] = []
    full = 0
    for number, server in enumerate(servers):
        try:
            running, waiting = server.queue()
        except TransientError as error:
            failures.append(error.message)
            log(f"{error.message}; another server of the pool is asked")
            continue
        if sum(1 for entry in (*running, *waiting) if _marker(entry) is not None) >= max_jobs:
            full += 1
            continue
        loads.append((len(running) + len(waiting), number))
    if loads:
        return servers[min(loads)[1]]
    if full:
        return None
    raise TransientError("; ".join(failures), hint="Start a ComfyUI server, or correct the connection's url.")
