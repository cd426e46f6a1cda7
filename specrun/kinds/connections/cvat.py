"""connections: cvat. A CVAT server and the account that asks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from specrun.clients.http import host_of
from specrun.model.digest import Json
from specrun.spec.kind import NOT_RESULT, Declaration, Duration, Lookup, Problem, Strict
from specrun.spec.secrets import SecretRef


class CvatConnectionSpec(Strict):
    """Where a CVAT server is, and as whom it is asked."""

    url: Annotated[str, Field(min_length=1)]
    """Address of the server, for example https://app.cvat.ai."""
    access_token: SecretRef | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """A personal access token, made in CVAT under Profile, Security; by reference."""
    username: str | SecretRef | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """Instead of a token; with `password`. As text, or by reference: then it is covered in logs as a secret is."""
    password: SecretRef | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """The user's password, by reference."""
    organization: str | None = Field(default=None, json_schema_extra=NOT_RESULT)
    """Short name of an organization; "" is the personal space; left out, everything that the account can see."""
    timeout: Duration = Field(default="60s", json_schema_extra=NOT_RESULT)
    """The longest silence of the server within one request."""
    requests_deadline: Duration = Field(default="30m", json_schema_extra=NOT_RESULT)
    """How long the server may work on one export or on the images of one task."""
    verify_tls: bool = Field(default=True, json_schema_extra=NOT_RESULT)
    """false: any certificate is believed, so that whoever is in between can read along."""


class CvatConnection(Declaration):
    """Resolved JSON: the fields. Only the host is part of what is made by it."""

    Spec = CvatConnectionSpec

    def check(self, spec: CvatConnectionSpec, lookup: Lookup) -> Sequence[Problem]:
        return [*url_problems(spec.url), *_account_problems(spec), *_tls_problems(spec)]

    def resolve(self, spec: CvatConnectionSpec, lookup: Lookup) -> dict[str, Json]:
        return {**spec.model_dump(mode="json"), "url": spec.url.rstrip("/")}

    def result(self, resolved: dict[str, Json]) -> Json:
        return {"host": host_of(str(resolved["url"]))}


def url_problems(url: str) -> Iterator[Problem]:
    """What is wrong with the address of a server, for every connection."""
    example = "Write for example https://cvat.example.org."
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        yield Problem("url", "is no address", example)
        return
    if parts.scheme not in ("http", "https") or not host:
        yield Problem("url", "is not the address of a web server", example)
    elif parts.username is not None or parts.password is not None:
        yield Problem("url", "holds a user or password", "Give them as username and password: {env: NAME}.")
    elif parts.query or parts.fragment:
        yield Problem("url", "has a query or fragment", "Give the address of the server alone.")
    elif "/api" in parts.path or parts.path.strip("/").partition("/")[0] in ("projects", "tasks", "jobs"):
        yield Problem("url", "is the address of a page", f"Give the server's: {parts.scheme}://{parts.netloc}.")


def _account_problems(spec: CvatConnectionSpec) -> Iterator[Problem]:
    if spec.access_token is not None and (spec.username is not None or spec.password is not None):
        yield Problem("access_token", "stands beside username or password", "Keep one of the two ways to sign in.")
    elif spec.access_token is None and spec.username is None:
        yield Problem("", "nobody signs in", "Give access_token: {env: CVAT_ACCESS_TOKEN}, or username and password.")
    elif spec.access_token is None and spec.password is None:
        yield Problem("username", "has no password", "Add password: {env: CVAT_PASSWORD}.")
    if spec.password is not None and spec.username is None and spec.access_token is None:
        yield Problem("password", "belongs to no username", "Add username.")


def _tls_problems(spec: CvatConnectionSpec) -> Iterator[Problem]:
    parts = urlsplit(spec.url) if not list(url_problems(spec.url)) else None
    if parts is None:
        return
    if parts.scheme == "http" and not is_near(parts.hostname or ""):
        yield Problem("url", "is not encrypted: the token or password can be read on the way", warning=True)
    if not spec.verify_tls:
        yield Problem("verify_tls", "any certificate is believed: use it in a network that you trust", warning=True)


def is_near(host: str) -> bool:
    """This machine, or an address that is only used inside a network."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".localhost", ".internal"))
    return address.is_loopback or address.is_private
