"""What `watch` does with `webhook` of cvat_projects: CVAT says that something changed, and it is looked at at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from specrun.clients.hooks import HookServer
from specrun.errors import CredentialsError
from specrun.model.address import Address
from specrun.model.digest import Json
from specrun.run.secrets import Revealing
from specrun.spec.project import Project
from specrun.views.quantities import count

_CONNECTION = "connections."


@dataclass(frozen=True)
class Hook:
    """Of one node. secret: the reference. connection: whose nodes are looked at when it says something."""

    node: str
    listen: str
    secret: Json
    connection: str


def hooks_of(project: Project) -> Iterator[Hook]:
    for node in project.nodes:
        declared: Any = node.config.get("webhook") if node.address.section == "cvat_projects" else None
        if not declared or not node.enabled:
            continue
        connection = next((name for name in node.declarations if name.startswith(_CONNECTION)), "")
        yield Hook(str(node.address), str(declared["listen"]), declared["secret"], connection)


def nodes_behind(project: Project, connections: frozenset[str]) -> frozenset[Address]:
    """Those that reach a server by one of these connections."""
    return frozenset(node.address for node in project.nodes if connections & node.declarations.keys())


class Hooks:
    """Listens where the spec says; nothing without any. heard: called with the connection, from any thread."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard
        self._wanted: Mapping[str, Mapping[str, str]] = {}
        self._servers: dict[str, HookServer] = {}
        self._told: dict[str, str] = {}

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def follow(self, project: Project) -> list[str]:
        """Listen as the spec says now. What there is to say of it: each is said once until it is another."""
        said: dict[str, str] = {}
        hooks = list(hooks_of(project))
        wanted = self._secrets(hooks, project, said)
        connections = {hook.node: hook.connection for hook in hooks}
        for listen in [*self._servers]:
            if wanted.get(listen) != self._wanted.get(listen):
                self._servers.pop(listen).close()
        for listen, secrets in wanted.items():
            if listen not in self._servers:
                self._open(listen, secrets, connections, said)
            elif refused := self._servers[listen].take_refused():
                unsigned = f"{count(refused, 'message')} not signed with the secret of {', '.join(secrets)}"
                said[f"refused {listen}"] = f"{listen}: {unsigned}; nothing was done"
        self._wanted = wanted
        news = [text for key, text in said.items() if self._told.get(key) != text]
        self._told = {key: text for key, text in {**self._told, **said}.items() if key in said or "refused" in key}
        return news

    def _secrets(self, hooks: list[Hook], project: Project, said: dict[str, str]) -> dict[str, dict[str, str]]:
        """listen → node → secret."""
        reveal = Revealing(project.project_dir)
        wanted: dict[str, dict[str, str]] = {}
        for hook in hooks:
            try:
                wanted.setdefault(hook.listen, {})[hook.node] = reveal(hook.secret)
            except CredentialsError as error:
                said[hook.node] = f"{hook.node}: no webhooks are heard: {error.message}"
        return {listen: secrets for listen, secrets in wanted.items() if secrets}

    def _open(
        self, listen: str, secrets: Mapping[str, str], connections: Mapping[str, str], said: dict[str, str]
    ) -> None:
        try:
            self._servers[listen] = HookServer(listen, secrets, lambda node: self._heard(connections[node]))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            said[listen] = f"{listen}: no webhooks are heard there: {why}; the regular look goes on"
        else:
            said[listen] = f"listens at {listen} for what CVAT tells of {', '.join(secrets)}"
