"""connections: replicate. An account of Replicate, where computing costs money."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import Field

from specrun.clients.http import host_of
from specrun.kinds.connections.cvat import is_near, url_problems
from specrun.model.digest import Json
from specrun.spec.kind import NOT_RESULT, Declaration, Duration, Lookup, Problem, Strict
from specrun.spec.secrets import SecretRef


class ReplicateConnectionSpec(Strict):
    """As whom Replicate is asked."""

    token: SecretRef = Field(json_schema_extra=NOT_RESULT)
    """An API token, by reference; it goes to the API's host alone."""
    url: str = "https://api.replicate.com"
    """Address of the API."""
    timeout: Duration = Field(default="60s", json_schema_extra=NOT_RESULT)
    """The longest silence of the API within one request."""


class ReplicateConnection(Declaration):
    """Resolved JSON: the fields. Only the host is part of what is made."""

    Spec = ReplicateConnectionSpec

    def check(self, spec: ReplicateConnectionSpec, lookup: Lookup) -> Sequence[Problem]:
        found = list(url_problems(spec.url))
        parts = urlsplit(spec.url) if not found else None
        if parts is not None and parts.scheme == "http" and not is_near(parts.hostname or ""):
            found.append(Problem("url", "is not encrypted: the token can be read on the way", warning=True))
        return found

    def resolve(self, spec: ReplicateConnectionSpec, lookup: Lookup) -> dict[str, Json]:
        return {**spec.model_dump(mode="json"), "url": spec.url.rstrip("/")}

    def result(self, resolved: dict[str, Json]) -> Json:
        return {"host": host_of(str(resolved["url"]))}
