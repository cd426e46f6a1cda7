"""An inference endpoint of the Hugging Face Hub: an image goes in, JSON comes out.

Without parameters the body is the image, with them it is JSON: `{"inputs": base64, "parameters": {…}}`.
Sources: the Hub's task pages "Object Detection" and "Image Segmentation" of its inference documentation.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from specrun.clients.http import Answer, Http, Request, Retry, Timeouts, host_of
from specrun.errors import CredentialsError, NodeError, TransientError

LOADING_S = 600.0
"""How long an endpoint that was asleep may take to wake up."""
_LONGEST_WAIT_S = 20.0
_LONGEST_REASON = 300


class Endpoint:
    """Thread-safe. check_stop: called before requests and in waits."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout_s: float = 120.0,
        retry: Retry | None = None,
        check_stop: Callable[[], None] | None = None,
        loading_s: float = LOADING_S,
    ) -> None:
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        self._place = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._http = Http(base, timeouts=Timeouts(read_s=timeout_s), retry=retry, check_stop=check_stop)
        self._private = {"Authorization": f"Bearer {token}"} if token else {}
        self._loading_s = loading_s

    def close(self) -> None:
        self._http.close()

    def ask(self, image: bytes, content_type: str, parameters: Mapping[str, Any]) -> Any:
        """The answer's JSON. Raises CredentialsError, TransientError, NodeError."""
        headers = {"Accept": "application/json", "Content-Type": content_type}
        body = image
        if parameters:
            headers["Content-Type"] = "application/json"
            sent = {"inputs": base64.b64encode(image).decode("ascii"), "parameters": dict(parameters)}
            body = json.dumps(sent).encode()
        # Asking twice changes nothing at the server.
        request = Request("POST", self._place, headers=headers, private=self._private, body=body, again=True)
        answer = self._when_loaded(request)
        if answer.status != 200:
            raise self._error(answer)
        try:
            return answer.json()
        except ValueError:
            raise NodeError(
                f"{host_of(self._http.base)}: answers with something that is no JSON.",
                hint="Check the endpoint's url and its task: object-detection or image-segmentation.",
            ) from None

    def _when_loaded(self, request: Request) -> Answer:
        until = time.monotonic() + self._loading_s
        while True:
            answer = self._http.send(request)
            told = _told(answer)
            seconds = told.get("estimated_time")
            loading = answer.status == 503 and (seconds is not None or "loading" in str(told.get("error", "")).lower())
            if not loading or time.monotonic() >= until:
                return answer
            self._http.wait(min(float(seconds or _LONGEST_WAIT_S), _LONGEST_WAIT_S))

    def _error(self, answer: Answer) -> NodeError:
        host = host_of(self._http.base)
        told = _told(answer).get("error")
        reason = str(told if told is not None else answer.body[:_LONGEST_REASON].decode("utf-8", "replace"))
        reason = " ".join(reason.split())[:_LONGEST_REASON]
        match answer.status:
            case 401 | 403:
                hint = "Check the connection's token: it needs the right to call inference endpoints."
                return CredentialsError(f"{host}: refuses the token ({answer.status}).", hint=hint)
            case 404:
                return NodeError(f"{host}: has nothing at this address (404).", hint="Check the endpoint's url.")
            case 413:
                return NodeError(f"{host}: the image is too large for it (413).", hint="Use `tile`.")
            case 429 | 500 | 502 | 503 | 504:
                return TransientError(f"{host}: answers {answer.status}: {reason}", hint="Try again later.")
            case status:
                return NodeError(f"{host}: answers {status}: {reason}")


def _told(answer: Answer) -> Mapping[str, Any]:
    """What an error says, as far as it is JSON."""
    if answer.status == 200:
        return {}
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, Mapping) else {}
