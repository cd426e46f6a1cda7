"""Vision servers: OpenAI's chat completions with a picture, or LLaVA's own worker.

Sources: OpenAI's API reference, "Create chat completion" with `image_url` content; LLaVA's `llava/serve`
(`/worker_get_status`, `/worker_generate_stream`: JSON pieces that end in a zero byte, each with the whole text so far).
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from specrun.clients.captioners.answers import is_page, json_of, nonsense, printable
from specrun.clients.http import Http, Request, Retry, Timeouts, host_of
from specrun.errors import NodeError

Protocol = Literal["openai", "llava"]
_REMEDY = "Check the connection's url, and that a server for pictures runs there."


@dataclass(frozen=True, slots=True)
class LlavaSettings:
    """model: None: the first one that the server offers. api: None: the server is asked."""

    url: str
    prompt: str
    model: str | None = None
    max_tokens: int = 200
    temperature: float = 0.0
    api: Protocol | None = None
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    verify_tls: bool = True
    retry: Retry = field(default_factory=Retry)


class Llava:
    """Thread-safe."""

    def __init__(self, settings: LlavaSettings, check_stop: Callable[[], None]) -> None:
        parts = urlsplit(settings.url)
        self._settings, self._host = settings, host_of(settings.url)
        self._root = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1")
        self._http = Http(
            f"{parts.scheme}://{parts.netloc}",
            timeouts=Timeouts(read_s=settings.timeout_s),
            retry=settings.retry,
            verify_tls=settings.verify_tls,
            check_stop=check_stop,
        )
        self._meeting = threading.Lock()
        self._met: tuple[Protocol, str] | None = None

    def close(self) -> None:
        self._http.close()

    def caption(self, data: bytes, kind: str) -> str:
        """data: a JPEG or PNG file. kind: its content type. Raises CredentialsError, TransientError, NodeError."""
        picture = base64.b64encode(data).decode("ascii")
        api, model = self._meet()
        return self._chat(model, picture, kind) if api == "openai" else self._worker(model, picture)

    def _meet(self) -> tuple[Protocol, str]:
        """Which protocol the server speaks and which model is meant; asked once."""
        with self._meeting:
            if self._met is None:
                given = self._settings
                if given.api is not None and given.model is not None:
                    self._met = (given.api, given.model)
                else:
                    self._met = self._asked()
            return self._met

    def _asked(self) -> tuple[Protocol, str]:
        given = self._settings
        if given.api != "llava":
            answer = self._http.send(Request("GET", f"{self._root}/v1/models", private=self._private()))
            if answer.status == 200 and not is_page(answer):
                listed = _names(json_of(answer, self._host, given.token, _REMEDY))
                return "openai", given.model or (listed[0] if listed else "default")
            if answer.status in (401, 403) or given.api == "openai":
                return "openai", given.model or "default"
        request = Request("POST", f"{self._root}/worker_get_status", private=self._private(), body=b"", again=True)
        answer = self._http.send(request)
        if answer.status == 200 and not is_page(answer):
            names = json_of(answer, self._host, given.token, _REMEDY)
            offered = names.get("model_names") if isinstance(names, dict) else None
            return "llava", given.model or (str(offered[0]) if isinstance(offered, list) and offered else "default")
        return given.api or "openai", given.model or "default"

    def _chat(self, model: str, picture: str, kind: str) -> str:
        content = [
            {"type": "text", "text": self._settings.prompt},
            {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{picture}"}},
        ]
        body = {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._settings.max_tokens,
            "temperature": self._settings.temperature,
            "stream": False,
        }
        answer = json_of(self._post("/v1/chat/completions", body), self._host, self._settings.token, _REMEDY)
        try:
            choice = answer["choices"][0]
            said = choice["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise nonsense(self._host, answer, _REMEDY) from None
        if isinstance(said, list):
            said = "".join(str(part.get("text", "")) for part in said if isinstance(part, dict))
        if not isinstance(said, str):
            raise nonsense(self._host, answer, _REMEDY)
        return whole_sentences(said) if choice.get("finish_reason") == "length" else said

    def _worker(self, model: str, picture: str) -> str:
        prompt = f"USER: <image>\n{self._settings.prompt} ASSISTANT:"
        body = {
            "model": model,
            "prompt": prompt,
            "images": [picture],
            "temperature": self._settings.temperature,
            "max_new_tokens": self._settings.max_tokens,
            "stop": "</s>",
        }
        answer = self._post("/worker_generate_stream", body)
        pieces = [piece for piece in answer.body.split(b"\0") if piece.strip()]
        if answer.status != 200 or is_page(answer) or not pieces:
            json_of(answer, self._host, self._settings.token, _REMEDY)
            raise nonsense(self._host, {}, _REMEDY)
        try:
            last = json.loads(pieces[-1])
            said, code = str(last["text"]), last.get("error_code", 0)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise nonsense(self._host, {}, _REMEDY) from None
        if code:
            raise NodeError(f"{self._host}: cannot caption ({printable(said)[:200]}).", hint=_REMEDY)
        shown = prompt.replace("<image>", " ")
        return said.removeprefix(prompt).removeprefix(shown).removeprefix(shown.replace("  ", " ")).strip()

    def _post(self, place: str, body: dict[str, Any]) -> Any:
        request = Request(
            "POST",
            self._root + place,
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            private=self._private(),
            body=json.dumps(body).encode(),
            again=True,  # asking twice changes nothing at the server
        )
        return self._http.send(request)

    def _private(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._settings.token}"} if self._settings.token else {}


def _names(answer: Any) -> list[str]:
    listed = answer.get("data") if isinstance(answer, dict) else None
    return [str(one["id"]) for one in listed or () if isinstance(one, dict) and one.get("id")]


def whole_sentences(text: str) -> str:
    """What was broken off at the longest length, without its last half sentence."""
    end = max(text.rfind(mark) for mark in ".!?")
    return text[: end + 1] if end > 0 else text
