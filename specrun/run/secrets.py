"""Secrets of a node, resolved once a run by the supervisor and handed to its worker over a pipe."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.errors import CredentialsError
from specrun.model.digest import canonical_json
from specrun.model.node import Node
from specrun.spec.secrets import find_references, resolve_secret


class Secrets:
    """environ: with the spec's .env files. Used from threads, since a secret may be the output of a command."""

    def __init__(self, settings: Mapping[str, Any], environ: Mapping[str, str], project_dir: Path) -> None:
        self._settings = settings
        self._environ = environ
        self._project_dir = project_dir
        self._resolved: dict[str, str | None] = {}
        self._lock = threading.Lock()

    def of(self, node: Node) -> dict[str, str]:
        """Canonical JSON of each reference that the node may ask for → its value.

        One that cannot be resolved is left out: the node that really needs it fails with its name.
        """
        database = self._settings.get("fiftyone", {}) if node.worker == "fiftyone" or node.exclusive else {}
        wanted = {canonical_json(r): r for r in find_references([node.config, node.declarations, database])}
        with self._lock:
            for key, reference in wanted.items():
                if key not in self._resolved:
                    self._resolved[key] = self._resolve(reference)
            return {key: value for key in wanted if (value := self._resolved[key]) is not None}

    def _resolve(self, reference: Mapping[str, Any]) -> str | None:
        try:
            return resolve_secret(reference, self._environ, self._project_dir)
        except CredentialsError:
            return None
