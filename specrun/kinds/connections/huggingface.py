"""connections: huggingface. An account of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import Field

from specrun.clients.http import host_of
from specrun.kinds.connections.cvat import is_near, url_problems
from specrun.model.digest import Json
from specrun.spec.kind import NOT_RESULT, Declaration, Lookup, Problem, Strict
from specrun.spec.secrets import SecretRef

_HUB = "https://huggingface.co"


class HuggingFaceConnectionSpec(Strict):
    """As whom the Hub and its inference endpoints are asked."""

    token: SecretRef | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """An access token, by reference; left out, only what is public."""
    endpoint: str | None = None
    """Address of a Hub of one's own; null: https://huggingface.co."""


class HuggingFaceConnection(Declaration):
    """Resolved JSON: token (a reference or None), endpoint (an address). Only the host is part of what is made."""

    Spec = HuggingFaceConnectionSpec

    def check(self, spec: HuggingFaceConnectionSpec, lookup: Lookup) -> Sequence[Problem]:
        if spec.endpoint is None:
            return ()
        found = [
            Problem("endpoint", problem.message, "Write for example https://hub.example.org.")
            for problem in url_problems(spec.endpoint)
        ]
        parts = urlsplit(spec.endpoint) if not found else None
        if (
            parts is not None
            and parts.scheme == "http"
            and spec.token is not None
            and not is_near(parts.hostname or "")
        ):
            found.append(Problem("endpoint", "is not encrypted: the token can be read on the way", warning=True))
        return found

    def resolve(self, spec: HuggingFaceConnectionSpec, lookup: Lookup) -> dict[str, Json]:
        return {**spec.model_dump(mode="json"), "endpoint": (spec.endpoint or _HUB).rstrip("/")}

    def result(self, resolved: dict[str, Json]) -> Json:
        return {"host": host_of(str(resolved["endpoint"]))}
