"""cvat-sdk as the transport of uploads: signed in as we are, with timeouts, without redirects to other hosts.

Imported in workers only: it loads cvat-sdk.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import urllib3
from cvat_sdk.api_client.exceptions import ApiException
from cvat_sdk.core.client import AccessTokenCredentials, Client, Config
from cvat_sdk.core.exceptions import CvatSdkException
from cvat_sdk.core.helpers import make_request_headers
from cvat_sdk.core.progress import BaseProgressReporter
from cvat_sdk.core.uploading import Uploader

from specrun.clients.cvat.answers import error_of
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.session import Session
from specrun.clients.http import Answer
from specrun.errors import NodeError


class Unanswered(Exception):
    """A connection that was lost, or a server that was too busy: worth another try."""


class SessionEnded(Exception):
    def __init__(self, refusal: NodeError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _Stopping(BaseProgressReporter):  # type: ignore[misc]  # untyped
    """Told of every piece of a large file."""

    def __init__(self, check_stop: Callable[[], None]) -> None:
        super().__init__()
        self._check_stop = check_stop

    def report_status(self, progress: int) -> None:
        self._check_stop()

    def advance(self, delta: int) -> None:
        self._check_stop()


class SdkUpload(Uploader):  # type: ignore[misc]  # untyped
    """The steps of giving one task its data, each safe to repeat. They raise Unanswered, SessionEnded, NodeError."""

    def __init__(self, api: Api, task_id: int, session: Session) -> None:
        super().__init__(sdk_client(api, session))
        self._api = api
        self._url = f"{api.connection.url}/api/tasks/{task_id}/data/"
        self._path = f"/api/tasks/{task_id}/data/"

    def start(self) -> None:
        self._post({"Upload-Start": ""})

    def send(self, files: Sequence[Path]) -> int:
        """200, or 500: the server has one of these names already, or is in trouble."""
        fields = {f"client_files[{n}]": (file.name, file.read_bytes()) for n, file in enumerate(files)}
        headers = {"Content-Type": "multipart/form-data", "Upload-Multiple": ""}
        return self._post(headers, {"image_quality": "70", **fields}, expected=(200, 500)).status

    def send_large(self, file: Path) -> None:
        """By TUS: in pieces, continued where the server stands. A name that it has already is let be."""
        stopping = _Stopping(self._api.check_stop)
        try:
            with stopping.task(total=file.stat().st_size):
                self._upload_file_data_with_tus(self._url, file, meta={"filename": file.name}, pbar=stopping)
        except ApiException as error:
            if error.status != 409:
                raise self._refusal(error.status, error.headers, error.body) from None
        except (CvatSdkException, urllib3.exceptions.HTTPError) as error:
            raise Unanswered(type(error).__name__) from None

    def finish(self, fields: Mapping[str, Any]) -> str:
        """The id of the request that makes the frames."""
        told = self._post({"Upload-Finish": ""}, dict(fields))
        rq_id = json.loads(told.body or b"{}").get("rq_id")
        if not rq_id:
            raise NodeError(f"{self._api.connection.host}: the server did not begin to make the task's frames")
        return str(rq_id)

    def _post(
        self, headers: Mapping[str, str], fields: Mapping[str, Any] | None = None, expected: Sequence[int] = (200, 202)
    ) -> Answer:
        client = self._client.api_client
        try:
            response = client.rest_client.POST(
                self._url,
                headers={**headers, **make_request_headers(client)},
                post_params=fields,
                _check_status=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unanswered(type(error).__name__) from None
        if response.status in expected:
            return Answer(response.status, {}, body=response.data or b"")
        raise self._refusal(response.status, response.headers, response.data)

    def _refusal(self, status: int | None, headers: Any, body: Any) -> Exception:
        content = body.encode() if isinstance(body, str) else bytes(body or b"")
        lower = {str(name).lower(): str(value) for name, value in dict(headers or {}).items()}
        connection = self._api.connection
        refusal = error_of(
            Answer(int(status or 0), lower, body=content),
            "POST",
            self._path,
            connection.host,
            signed_in=connection.account,
        )
        if status == 401:
            return SessionEnded(refusal)
        if status == 429 or (status or 0) >= 500:
            return Unanswered(refusal.message)
        return refusal


def sdk_client(api: Api, session: Session) -> Client:
    """A client that is signed in by `session` and asks nothing by itself."""
    connection = api.connection
    quiet = logging.getLogger("specrun.cvat_sdk")
    quiet.setLevel(logging.CRITICAL)  # it logs what it was answered
    client = Client(
        connection.url,
        logger=quiet,
        config=Config(verify_ssl=connection.verify_tls),
        check_server_version=False,
    )
    if session.token:
        client.login(AccessTokenCredentials(session.token))
    elif session.cookies:
        client.api_client.cookies = SimpleCookie(dict(session.cookies))
        client.api_client.configuration.api_key["csrfHeaderAuth"] = session.csrf
    client.organization_slug = connection.organization
    _bound_requests(client, connection.timeout_s)
    return client


def _bound_requests(client: Client, timeout_s: float) -> None:
    """cvat-sdk waits for ever, and follows redirects with all its headers."""
    rest = client.api_client.rest_client
    rest.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(
        total=None, connect=2, read=0, redirect=0, status=0, other=0, raise_on_redirect=True
    )
    ask = rest.request

    def request(*arguments: Any, **named: Any) -> Any:
        named["_request_timeout"] = named.get("_request_timeout") or (min(10.0, timeout_s), timeout_s)
        return ask(*arguments, **named)

    rest.request = request
