"""Whose output root this is: `<output_root>/.specrun-owner`, as JSON.

    project   a random id that state.db holds too
    folder    the project's, relative to the output root: one that is moved or copied with its outputs stays their owner

Two projects in one output root would replace each other's outputs, each believing that they are its own.
Rejected: the project's name (two may share it), its absolute path (projects move).
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from specrun.errors import StateError, UsageError
from specrun.store.filesystem import fsync_folder
from specrun.store.kept import take_back_kept
from specrun.store.paths import ProjectPaths
from specrun.store.state import State

OWNER_NAME = ".specrun-owner"
_PLACE, _KEY = "output_root", "project"


@dataclass(frozen=True, slots=True)
class Owner:
    project: str
    folder: str


def claim_output_root(state: State, paths: ProjectPaths) -> None:
    """Makes this project the owner of its output root, under the project lock; harmless when repeated.

    A state that was lost takes on the id of an owner that lies in the same folder or nowhere any more, and counts
    the kept outputs again.
    Raises UsageError: it belongs to another project, or cannot be written; StateError: the owner file is damaged.
    """
    found = _read(paths)
    recalled = state.recall(_PLACE, _KEY)
    mine = str(recalled) if recalled else None
    if found is not None and not _may_claim(paths, found, mine):
        raise UsageError(
            f"{paths.output_root}: belongs to the project in {_folder_of(paths, found)}.",
            hint="Set project.output_root to a folder of this project's own,"
            f" or delete {OWNER_NAME} there if that project is no more.",
        )
    if mine is None:
        mine = found.project if found else secrets.token_hex(16)
        with state.transaction():
            state.remember(_PLACE, _KEY, mine)
            if not state.records() and not state.earlier():
                take_back_kept(state, paths)
    owner = Owner(mine, Path(os.path.relpath(_real(paths.project_dir), _real(paths.output_root))).as_posix())
    if owner != found:
        _write(paths, owner)


def _may_claim(paths: ProjectPaths, found: Owner, mine: str | None) -> bool:
    folder = _folder_of(paths, found)
    if _real(folder) == _real(paths.project_dir):
        return True
    if mine == found.project:
        # Moved; but a copy of a project has its id too, and then both are in use.
        return not ProjectPaths(folder, paths.output_root).state_dir.is_dir()
    return mine is None and not folder.exists()


def _folder_of(paths: ProjectPaths, owner: Owner) -> Path:
    return Path(os.path.normpath(_real(paths.output_root) / owner.folder))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _read(paths: ProjectPaths) -> Owner | None:
    """None: nobody's; an empty file is one that a power cut kept from being written."""
    place = paths.output_root / OWNER_NAME
    try:
        text = place.read_text()
        data = json.loads(text) if text.strip("\0") else None
        return Owner(str(data["project"]), str(data["folder"])) if data is not None else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"{place}: cannot be read ({error}).", hint="Delete it if no other project uses this output root."
        ) from error


def _write(paths: ProjectPaths, owner: Owner) -> None:
    place = paths.output_root / OWNER_NAME
    partial = place.with_name(f"{OWNER_NAME}.{secrets.token_hex(4)}")
    try:
        paths.output_root.mkdir(parents=True, exist_ok=True)
        with open(partial, "w") as file:
            file.write(json.dumps(asdict(owner)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, place)
        fsync_folder(paths.output_root)
    except OSError as error:
        raise UsageError(
            f"{paths.output_root}: cannot be written ({error.strerror}).",
            hint="Mend its permissions, or set project.output_root to a folder that can be written.",
        ) from error
