"""connections: llava. A vision server: LLaVA's own worker, or anything that speaks OpenAI's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from specrun.clients.http import host_of
from specrun.kinds.connections.cvat import is_near
from specrun.model.digest import Json
from specrun.spec.kind import NOT_RESULT, Declaration, Duration, Lookup, Problem, Strict
from specrun.spec.secrets import SecretRef


class LlavaConnectionSpec(Strict):
    """Where a vision server is: vLLM, Ollama, LM Studio, llama.cpp, a LLaVA worker, or a service."""

    url: Annotated[str, Field(min_length=1)]
    """Its address, for example http://127.0.0.1:11434; with or without /v1."""
    api: Literal["auto", "openai", "llava"] = Field(default="auto", json_schema_extra=NOT_RESULT)
    """openai: /v1/chat/completions. llava: /worker_generate_stream. auto: the server is asked once."""
    token: SecretRef | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """An API key, by reference."""
    timeout: Duration = Field(default="120s", json_schema_extra=NOT_RESULT)
    """The longest silence of the server within one request."""
    verify_tls: bool = Field(default=True, json_schema_extra=NOT_RESULT)
    """false: any certificate is believed, so that whoever is in between can read along."""


class LlavaConnection(Declaration):
    """Resolved JSON: the fields. Only the host is part of what is made by it."""

    Spec = LlavaConnectionSpec

    def check(self, spec: LlavaConnectionSpec, lookup: Lookup) -> Sequence[Problem]:
        return list(_problems(spec))

    def resolve(self, spec: LlavaConnectionSpec, lookup: Lookup) -> dict[str, Json]:
        return {**spec.model_dump(mode="json"), "url": spec.url.rstrip("/")}

    def result(self, resolved: dict[str, Json]) -> Json:
        return {"host": host_of(str(resolved["url"]))}


def _problems(spec: LlavaConnectionSpec) -> Iterator[Problem]:
    example = "Write for example http://127.0.0.1:11434."
    try:
        parts = urlsplit(spec.url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield Problem("url", "is no address", example)
        return
    if parts.scheme not in ("http", "https") or not host:
        yield Problem("url", "is not the address of a web server", example)
    elif parts.username is not None or parts.password is not None:
        yield Problem("url", "holds a user or password", "Give it as token: {env: NAME}.")
    elif parts.query or parts.fragment:
        yield Problem("url", "has a query or fragment", "Give the address of the server alone.")
    elif parts.scheme == "http" and spec.token is not None and not is_near(host):
        yield Problem("url", "is not encrypted: the token can be read on the way", warning=True)
    if not spec.verify_tls:
        yield Problem("verify_tls", "any certificate is believed: use it in a network that you trust", warning=True)
