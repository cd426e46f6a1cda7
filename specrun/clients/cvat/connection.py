"""Where a CVAT server is and who asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.clients.http import host_of
from specrun.model.digest import Json
from specrun.spec.quantities import duration_s

ReadSecret = Callable[[Json], str]
"""`Context.secret` or `Look.secret`."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One server and one account. url: without a trailing slash. organization: a slug, "" for the personal space,
    None for everything that the account can see. Either token, or username with password."""

    url: str
    organization: str | None = None
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    requests_deadline_s: float = 1800.0
    verify_tls: bool = True

    @property
    def host(self) -> str:
        """`cvat.example.org:8080`, without the port when it is the scheme's own."""
        return host_of(self.url)

    @property
    def account(self) -> str:
        """As whom, for messages."""
        if self.token:
            return "the access token"
        return f"the user {self.username}" if self.username else "a visitor without a login"

    @classmethod
    def from_declaration(cls, resolved: Mapping[str, Any], secret: ReadSecret) -> Connection:
        """resolved: `ctx.declarations["connections.lab"]`. Raises CredentialsError: a secret cannot be read."""
        token, user, password = (resolved.get(key) for key in ("access_token", "username", "password"))
        return cls(
            url=str(resolved["url"]).rstrip("/"),
            organization=resolved.get("organization"),
            token=secret(token) if token else None,
            username=secret(user) if isinstance(user, dict) else user,
            password=secret(password) if password else None,
            timeout_s=duration_s(resolved.get("timeout", "60s")),
            requests_deadline_s=duration_s(resolved.get("requests_deadline", "30m")),
            verify_tls=bool(resolved.get("verify_tls", True)),
        )
