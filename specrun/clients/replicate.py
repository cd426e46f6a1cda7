"""Replicate's HTTP API: files, and trainings that are started once, watched, cancelled and found again.

Source: replicate.com/docs/reference/http.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from specrun.clients.downloads import download
from specrun.clients.http import Http, Request, Retry, Timeouts, host_of
from specrun.clients.remote_job import JobState, Part, content_of, form, nonsense, refusal

API = "https://api.replicate.com"
_STATES = {
    "starting": JobState.QUEUED,
    "queued": JobState.QUEUED,
    "processing": JobState.RUNNING,
    "succeeded": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELLED,
    "aborted": JobState.CANCELLED,
}
_GONE = (403, 404, 410)
"""Said of files that were kept for their time; addresses of Amazon's answer 403."""
_MAX_PAGES = 20


@dataclass(frozen=True, slots=True)
class Training:
    """seconds: of computing that is paid for, once it is known."""

    id: str
    state: JobState
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None
    logs: str = ""
    error: str = ""
    seconds: float | None = None

    @property
    def weights(self) -> str | None:
        """Address of what it made; None: it made no weights."""
        found = self.output.get("weights") if isinstance(self.output, Mapping) else self.output
        return found if isinstance(found, str) and found.startswith(("https://", "http://")) else None


class Replicate:
    """An account. check_stop: called before requests and in waits."""

    def __init__(
        self,
        token: str,
        *,
        url: str = API,
        timeout_s: float = 60.0,
        retry: Retry | None = None,
        check_stop: Callable[[], None] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._retry, self._check_stop, self._timeouts = retry, check_stop, Timeouts(read_s=timeout_s)
        self._http = Http(self.url, timeouts=self._timeouts, retry=retry, check_stop=check_stop)
        self._private = {"Authorization": f"Bearer {token}"}

    @property
    def host(self) -> str:
        return host_of(self.url)

    def close(self) -> None:
        self._http.close()

    def wait(self, seconds: float) -> None:
        self._http.wait(seconds)

    def check_version(self, owner: str, name: str, version: str) -> None:
        """Raises NodeError: the account cannot see that version of a trainer."""
        what = f"the trainer {owner}/{name}:{version[:12]}"
        self._get(f"/v1/models/{owner}/{name}/versions/{version}", what)

    def make_destination(self, owner: str, name: str, hardware: str) -> None:
        """The model that a training's versions go to; one that exists stays."""
        answer = self._http.send(Request("GET", f"/v1/models/{owner}/{name}", private=self._private))
        if answer.status == 200:
            return
        if answer.status != 404:
            raise refusal(answer, self.url, f"the model {owner}/{name}")
        content = {"owner": owner, "name": name, "visibility": "private", "hardware": hardware}
        answer = self._http.send(self._post("/v1/models", content, again=True))
        if answer.status != 409:  # another run was quicker
            content_of(answer, self.url, f"making the model {owner}/{name}")

    def upload(self, name: str, content: bytes, content_type: str) -> str:
        """Address of the file, for the input of a training."""
        body, kind = form([Part("content", content, name, content_type)])
        headers = {"Content-Type": kind}
        answer = self._http.send(Request("POST", "/v1/files", headers=headers, private=self._private, body=body))
        told = content_of(answer, self.url, f"the upload of {name}")
        urls = told.get("urls")
        found = urls.get("get") if isinstance(urls, Mapping) else None
        if not isinstance(found, str):
            raise nonsense(self.url, f"the upload of {name}")
        return found

    def start(self, owner: str, name: str, version: str, destination: str, values: Mapping[str, Any]) -> Training:
        """Once: what has no clear answer is not asked again. Raises TransientError: it may have been started."""
        path = f"/v1/models/{owner}/{name}/versions/{version}/trainings"
        content = {"destination": destination, "input": dict(values)}
        answer = self._http.send(self._post(path, content, again=False))
        return self._training(content_of(answer, self.url, "the start of a training"))

    def training(self, training_id: str) -> Training:
        return self._training(self._get(f"/v1/trainings/{training_id}", f"training {training_id}"))

    def known_training(self, training_id: str) -> Training | None:
        """None: the account has no such training."""
        answer = self._http.send(Request("GET", f"/v1/trainings/{training_id}", private=self._private))
        if answer.status == 404:
            return None
        return self._training(content_of(answer, self.url, f"training {training_id}"))

    def find(self, fits: Callable[[Mapping[str, Any]], bool]) -> Training | None:
        """The newest training whose input fits."""
        path: str | None = "/v1/trainings"
        for _ in range(_MAX_PAGES):
            if path is None:
                return None
            page = self._get(path, "the list of trainings")
            results = page.get("results")
            if not isinstance(results, list):
                raise nonsense(self.url, "the list of trainings")
            for one in results:
                if isinstance(one, Mapping) and isinstance(one.get("input"), Mapping) and fits(one["input"]):
                    return self._training(one)
            path = page.get("next")
        return None

    def cancel(self, training_id: str) -> None:
        answer = self._http.send(self._post(f"/v1/trainings/{training_id}/cancel", {}, again=True))
        if answer.status >= 300:
            raise refusal(answer, self.url, f"cancelling training {training_id}")

    def fetch(self, url: str, target: Path, progress: Callable[[int, int | None], None] | None = None) -> bool:
        """A file that a training made; False: it is gone. The token goes to the API's own host alone."""
        parts = urlsplit(url)
        own = f"{parts.scheme}://{parts.netloc}"
        http = Http(own, timeouts=self._timeouts, retry=self._retry, check_stop=self._check_stop)
        private = self._private if own == self.url else {}
        try:
            answer = download(http, Request("GET", url, private=private), target, progress)
        finally:
            http.close()
        if answer.status in _GONE:
            return False
        if answer.status >= 300:
            raise refusal(answer, own, f"the weights at {own}{parts.path}")
        return True

    def _training(self, told: Mapping[str, Any]) -> Training:
        found, state = told.get("id"), _STATES.get(str(told.get("status")))
        if not isinstance(found, str) or not found or state is None:
            raise nonsense(self.url, "a training")
        metrics = told.get("metrics")
        seconds = metrics.get("predict_time") if isinstance(metrics, Mapping) else None
        given = told.get("input")
        return Training(
            id=found,
            state=state,
            input=given if isinstance(given, Mapping) else {},
            output=told.get("output"),
            logs=str(told.get("logs") or ""),
            error=str(told.get("error") or ""),
            seconds=float(seconds) if isinstance(seconds, int | float) else None,
        )

    def _get(self, path: str, what: str) -> dict[str, Any]:
        answer = self._http.send(Request("GET", path, private=self._private))
        found: dict[str, Any] = content_of(answer, self.url, what)
        return found

    def _post(self, path: str, content: Any, *, again: bool) -> Request:
        headers = {"Content-Type": "application/json"}
        body = json.dumps(content).encode()
        return Request("POST", path, headers=headers, private=self._private, body=body, again=again)
