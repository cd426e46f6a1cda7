"""Secrets of a node, resolved once a run by the supervisor and handed to its worker over a pipe."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specrun.errors import CredentialsError
from specrun.model.digest import Json, canonical_json
from specrun.model.node import Node
from specrun.spec.environment import with_env_files
from specrun.spec.secrets import SECRET_HINT, find_references, resolve_secret


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
        tracking = self._settings.get("tracking", {}) if node.address.section == "models" else {}
        places = [node.config, node.declarations, database, tracking]
        wanted = {canonical_json(r): r for r in find_references(places)}
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


class Revealing:
    """Secrets while the world is looked at, each resolved once. Called from threads."""

    def __init__(self, project_dir: Path, environ: Mapping[str, str] | None = None) -> None:
        self._project_dir = project_dir
        self._environ = environ
        self._resolved: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, reference: Json) -> str:
        """Raises CredentialsError."""
        if not isinstance(reference, dict):
            raise CredentialsError("a secret is given by something that is no reference", hint=SECRET_HINT)
        reference = {key: value for key, value in reference.items() if value is not None}
        key = canonical_json(reference)
        with self._lock:
            if key not in self._resolved:
                environ = with_env_files(self._project_dir, os.environ if self._environ is None else self._environ)
                self._resolved[key] = resolve_secret(reference, environ, self._project_dir)
            return self._resolved[key]
