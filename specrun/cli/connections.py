"""What commands on servers share: a spec's connections, with their secrets."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.cli.project import find_spec, pairs
from specrun.clients.cvat.connection import Connection
from specrun.errors import UsageError
from specrun.kinds.registry import REGISTRY
from specrun.run.secrets import Revealing
from specrun.spec.build import build
from specrun.spec.kind import Declaration
from specrun.spec.project import Project
from specrun.spec.suggest import did_you_mean


@dataclass(frozen=True)
class Servers:
    """declared: name → resolved JSON of the connections to CVAT. path: of the spec."""

    path: Path
    project: Project
    declared: Mapping[str, Mapping[str, Any]]

    def connection(self, name: str) -> Connection:
        """Raises UsageError: no such connection; CredentialsError: its secret cannot be read."""
        bare = name.removeprefix("connections.")
        if bare not in self.declared:
            hint = did_you_mean(bare, self.declared, otherwise="There are:") or "Declare one under `connections`."
            raise UsageError(f"{name}: the spec has no such connection to CVAT", hint=hint)
        return Connection.from_declaration(self.declared[bare], Revealing(self.path.parent))


def load_servers(arguments: Namespace) -> Servers:
    """Raises SpecError, UsageError: no spec."""
    path = find_spec(arguments.spec).resolve()
    # Not the kept plan: that holds only what nodes use.
    built = build(
        path,
        REGISTRY,
        variables=pairs(arguments.var, "var"),
        sets=pairs(arguments.set, "set"),
        environ=os.environ,
    )
    declared = {}
    for address, entry in built.composition.entries.items():
        if address.section == "connections" and entry.kind_name == "cvat" and isinstance(entry.kind, Declaration):
            declared[address.name] = entry.kind.resolve(entry.spec, built.composition)
    return Servers(path, built.project, declared)
