"""Secrets of a node, resolved once by the supervisor and handed to its worker over a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.errors import CredentialsError
from specrun.model.digest import canonical_json
from specrun.model.node import Node
from specrun.spec.secrets import find_references, resolve_secret


def secrets_of(
    node: Node, settings: Mapping[str, Any], environ: Mapping[str, str], project_dir: Path
) -> dict[str, str]:
    """Canonical JSON of each reference → its value. One that cannot be resolved is left out: the node
    that really needs it fails with the name of the reference."""
    values: dict[str, str] = {}
    for reference in find_references([node.config, node.declarations, settings]):
        try:
            values[canonical_json(reference)] = resolve_secret(reference, environ, project_dir)
        except CredentialsError:
            continue
    return values
