"""What people made of a dataset, for planning: pymongo at most, and nothing at all while the data has not moved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specrun.clients.fiftyone.connection import is_embedded
from specrun.clients.fiftyone.digests import describe
from specrun.clients.fiftyone.snapshots import Snapshots, names_of
from specrun.clients.mongod_folder import ServerFolder, clean_stop
from specrun.model.digest import Json

OWN_PARTS = ("classes", "look")
"""Parts that come from the node's own run; nothing that people do in FiftyOne moves them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """parts: live digests; changes: readable differences to the recorded ones, by part."""

    exists: bool
    parts: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def observe_dataset(
    settings: Mapping[str, Any], state_dir: Path, project_dir: Path, name: str, recorded: Mapping[str, str]
) -> Seen:
    """recorded: the parts at the node's last run. Raises NodeError, MissingDependency."""
    parts = _parts_without_server(settings, state_dir, name)
    if parts is None:
        parts = _parts_from_server(settings, state_dir, project_dir, name)
    if parts is None:
        return Seen(exists=False)
    parts |= {part: recorded[part] for part in OWN_PARTS if part in recorded}
    return Seen(True, parts, part_changes(Snapshots(state_dir / "fiftyone", name), recorded, parts))


def part_changes(
    snapshots: Snapshots, recorded: Mapping[str, str], now: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Readable differences of the parts that moved, as far as the snapshots still know the former values."""
    moved = sorted(part for part in recorded if recorded[part] != now.get(part))
    if not moved:
        return {}
    names = names_of(snapshots.values(now.get("media", ""))) | names_of(snapshots.values(recorded.get("media", "")))
    changes: dict[str, tuple[str, ...]] = {}
    for part in moved:
        old, new = snapshots.values(recorded[part]), snapshots.values(now.get(part, ""))
        if part not in now:
            changes[part] = (f"{part.removeprefix('field:')} is gone from FiftyOne",)
        elif old is None or new is None:
            changes[part] = (f"{part.removeprefix('field:')} changed in FiftyOne",)
        else:
            changes[part] = describe(part, old, new, names)
    return changes


def _parts_without_server(settings: Mapping[str, Any], state_dir: Path, name: str) -> dict[str, str] | None:
    """The recorded digests if the server stopped cleanly, nothing moved since, and it looked like that then."""
    if not is_embedded(settings):
        return None
    seen: Json = clean_stop(state_dir / "fiftyone")
    if not isinstance(seen, dict) or seen.get(name) is None:
        return None
    return Snapshots(state_dir / "fiftyone", name).parts_at(seen[name])


def _parts_from_server(
    settings: Mapping[str, Any], state_dir: Path, project_dir: Path, name: str
) -> dict[str, str] | None:
    """None: there is no such dataset, or it is not marked as ours."""
    from specrun.clients.fiftyone.project_database import open_database  # only when the server must be asked
    from specrun.spec.environment import with_env_files  # as above
    from specrun.spec.secrets import resolve_secret  # as above

    if is_embedded(settings) and not ServerFolder(state_dir / "fiftyone").data.is_dir():
        return None

    def secret(reference: Json) -> str:
        environ = with_env_files(project_dir, os.environ)
        return resolve_secret(reference if isinstance(reference, dict) else {}, environ, project_dir)

    with open_database(settings, state_dir, project_dir=project_dir, secret=secret, may_import=False) as database:
        layout = database.find_layout(name)
        return database.parts(name) if layout and layout.mark else None
