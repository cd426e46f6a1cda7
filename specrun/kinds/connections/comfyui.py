"""connections: comfyui. One ComfyUI server, or several as a pool."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import Field

from specrun.clients.http import host_of
from specrun.kinds.connections.cvat import is_near, url_problems
from specrun.model.digest import Json
from specrun.spec.kind import NOT_RESULT, Declaration, Duration, Lookup, Problem, Strict
from specrun.spec.secrets import SecretRef


class ComfyConnectionSpec(Strict):
    """Where ComfyUI runs."""

    url: str | list[str]
    """Address of a server, for example http://127.0.0.1:8188; or a list: each job goes to the one with least to do."""
    max_jobs: int = Field(default=1, ge=1, le=100, json_schema_extra=NOT_RESULT)
    """So many jobs of specrun at a time at each server; the others wait."""
    token: SecretRef | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """Where a proxy in front of the servers asks for a bearer token; by reference."""
    timeout: Duration = Field(default="60s", json_schema_extra=NOT_RESULT)
    """The longest silence of a server within one request."""
    verify_tls: bool = Field(default=True, json_schema_extra=NOT_RESULT)
    """false: any certificate is believed, so that whoever is in between can read along."""

    @property
    def urls(self) -> list[str]:
        return [self.url] if isinstance(self.url, str) else list(self.url)


class ComfyConnection(Declaration):
    """Resolved JSON: the fields, with `url` as a list. Where it runs is no part of what is made."""

    Spec = ComfyConnectionSpec

    def check(self, spec: ComfyConnectionSpec, lookup: Lookup) -> Sequence[Problem]:
        example = "Write for example http://127.0.0.1:8188."
        if not spec.urls:
            return [Problem("url", "names no server", example)]
        found = [
            Problem("url", f"{url}: {problem.message}", example) for url in spec.urls for problem in url_problems(url)
        ]
        if found:
            return found
        for url in spec.urls:
            parts = urlsplit(url)
            if parts.scheme == "http" and spec.token is not None and not is_near(parts.hostname or ""):
                found.append(Problem("url", "is not encrypted: the token can be read on the way", warning=True))
        hosts = [host_of(url) for url in spec.urls]
        if len(set(hosts)) < len(hosts):
            found.append(Problem("url", "names a server twice", "Leave one of them out."))
        if not spec.verify_tls:
            found.append(
                Problem("verify_tls", "any certificate is believed: use it in a network that you trust", warning=True)
            )
        return found

    def resolve(self, spec: ComfyConnectionSpec, lookup: Lookup) -> dict[str, Json]:
        return {**spec.model_dump(mode="json"), "url": [url.rstrip("/") for url in spec.urls]}

    def result(self, resolved: dict[str, Json]) -> Json:
        return {}
