"""Hugging Face inference, image to text: the picture's bytes go in, `[{"generated_text": …}]` comes out.

Source: the Hub's inference documentation, task "Image to Text". While a model is loaded the answer is 503 with
`estimated_time`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from specrun.clients.captioners.answers import json_of, nonsense
from specrun.clients.http import Answer, Http, Request, Retry, Timeouts, host_of

_HUB = "https://huggingface.co"
_INFERENCE = "https://router.huggingface.co/hf-inference"
LOADING_S = 600.0
"""How long a model may take to be loaded."""
_LONGEST_WAIT_S = 20.0
_REMEDY = "Check that the model or endpoint is for image-to-text, and its url."


@dataclass(frozen=True, slots=True)
class Blip2Settings:
    """url: where pictures are sent. token: goes to that host alone."""

    url: str
    token: str | None = field(default=None, repr=False)
    retry: Retry = field(default_factory=Retry)
    timeout_s: float = 120.0
    loading_s: float = LOADING_S


def inference_url(endpoint: str, model: str) -> str:
    """endpoint: of the connection; the Hub's own stands for its inference service."""
    base = _INFERENCE if endpoint.rstrip("/") == _HUB else endpoint.rstrip("/")
    return f"{base}/models/{quote(model)}"


class Blip2:
    """Thread-safe."""

    def __init__(self, settings: Blip2Settings, check_stop: Callable[[], None]) -> None:
        parts = urlsplit(settings.url)
        self._settings, self._host = settings, host_of(settings.url)
        self._place = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        timeouts = Timeouts(read_s=settings.timeout_s)
        base = f"{parts.scheme}://{parts.netloc}"
        self._http = Http(base, timeouts=timeouts, retry=settings.retry, check_stop=check_stop)

    def close(self) -> None:
        self._http.close()

    def caption(self, data: bytes, kind: str) -> str:
        """data: a JPEG or PNG file. kind: its content type. Raises CredentialsError, TransientError, NodeError."""
        private = {"Authorization": f"Bearer {self._settings.token}"} if self._settings.token else {}
        headers = {"Content-Type": kind, "Accept": "application/json"}
        request = Request("POST", self._place, headers=headers, private=private, body=data, again=True)
        answer = json_of(self._when_loaded(request), self._host, self._settings.token, _REMEDY)
        return _text_of(answer, self._host)

    def _when_loaded(self, request: Request) -> Answer:
        until = time.monotonic() + self._settings.loading_s
        while True:
            answer = self._http.send(request)
            seconds = _loading_s(answer)
            if seconds is None or time.monotonic() >= until:
                return answer
            self._http.wait(min(seconds, _LONGEST_WAIT_S))


def _loading_s(answer: Answer) -> float | None:
    """How long the model still needs, as the server thinks; None: it is not being loaded."""
    if answer.status != 503:
        return None
    try:
        said = answer.json()
    except ValueError:
        return None
    seconds = said.get("estimated_time") if isinstance(said, Mapping) else None
    return float(seconds) if isinstance(seconds, int | float) else None


def _text_of(answer: Any, host: str) -> str:
    found = answer
    while isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict):
        for key in ("generated_text", "caption", "text"):
            if isinstance(found.get(key), str):
                return str(found[key])
    raise nonsense(host, found, _REMEDY)
