"""Folders in which something is being made, and what a killed run left in them.

A note `.resume.json` {"fingerprint": …, "resume": …} says what the folder was begun for. `write_manifest` removes it,
so that it is never published.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path

from specrun.errors import NodeError
from specrun.model.address import Address, path_safe
from specrun.model.artifact import MANIFEST_NAME, Manifest
from specrun.model.digest import Json, canonical_json
from specrun.store.manifest import NOTE_NAME, is_whole, read_manifest
from specrun.store.paths import ProjectPaths


def open_staging(paths: ProjectPaths, address: Address, fingerprint: str, resume: Json) -> tuple[Path, bool]:
    """A staging folder with its note, and whether it holds work to go on with; otherwise it is empty.

    Raises NodeError: the folder cannot be made.
    """
    staging = paths.staging(address, fingerprint)
    try:
        if find_resumable(paths, address, fingerprint, resume):
            return staging, True
        throw_away(paths, staging, address)
        staging.mkdir(parents=True)
        write_staging_note(staging, fingerprint, resume)
    except OSError as error:
        raise NodeError(f"{address}: {error.filename or staging} cannot be made ({error.strerror}).") from error
    return staging, False


def write_staging_note(staging: Path, fingerprint: str, resume: Json) -> None:
    partial = staging / f"{NOTE_NAME}.partial"
    partial.write_text(json.dumps({"fingerprint": fingerprint, "resume": resume}))
    os.replace(partial, staging / NOTE_NAME)


def find_resumable(paths: ProjectPaths, address: Address, fingerprint: str, resume: Json) -> Path | None:
    """The staging folder in which an interrupted run can go on, moved to where this fingerprint's lies.

    resume: the kind's resume key; None: it never goes on with what was left. The folder of the same fingerprint is
    preferred, then the newest that was begun with the same resume key.
    """
    if resume is None:
        return None
    wanted = paths.staging(address, fingerprint)
    if _begun_with(wanted, resume):
        return wanted
    others = [folder for folder in staging_folders(paths, address) if _begun_with(folder, resume)]
    if not others:
        return None
    throw_away(paths, wanted, address)
    os.rename(max(others, key=lambda folder: folder.stat().st_mtime_ns), wanted)
    (wanted / MANIFEST_NAME).unlink(missing_ok=True)
    write_staging_note(wanted, fingerprint, resume)
    return wanted


def adoptable(paths: ProjectPaths, address: Address, fingerprint: str) -> Manifest | None:
    """The manifest of a finished staging folder that nobody published: publish it, do not make it again.

    The folder lies in `paths.staging(address, fingerprint)` then. Work that saw a newer world than its plan did carries
    another fingerprint than the folder that it was begun in, so all folders of the node are looked at.
    """
    wanted = paths.staging(address, fingerprint)
    for folder in sorted(staging_folders(paths, address), key=lambda folder: folder != wanted):
        manifest = _whole_manifest(folder, address, fingerprint)
        if manifest is not None:
            if folder != wanted:
                throw_away(paths, wanted, address)
                os.rename(folder, wanted)
            return manifest
    return None


def published(paths: ProjectPaths, address: Address, fingerprint: str) -> Manifest | None:
    """The manifest of the output if it carries this fingerprint: the state was lost, the work was not."""
    return _whole_manifest(paths.output(address), address, fingerprint)


def staging_folders(paths: ProjectPaths, address: Address) -> list[Path]:
    """All staging folders of one node. Those of a matrix's instances lie among them and have a `=` in the name."""
    folder = paths.staging_root / address.folder
    try:
        return sorted(folder / name for name in os.listdir(folder) if "=" not in name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def throw_away(paths: ProjectPaths, place: Path, address: Address) -> None:
    """Moves a file, folder or link to the trash, if it is there."""
    if os.path.lexists(place):
        paths.trash.mkdir(parents=True, exist_ok=True)
        os.rename(place, paths.trash / trash_name(address))


def trash_name(address: Address) -> str:
    return f"{path_safe(address.text)}-{secrets.token_hex(6)}"


def remove(place: Path) -> None:
    """Deletes for good, never through a link; what cannot be deleted stays for the next time."""
    if place.is_symlink() or not place.is_dir():
        place.unlink(missing_ok=True)
    else:
        shutil.rmtree(place, ignore_errors=True)


def _begun_with(folder: Path, resume: Json) -> bool:
    try:
        note = json.loads((folder / NOTE_NAME).read_text())
        return canonical_json(note["resume"]) == canonical_json(resume)
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _whole_manifest(folder: Path, address: Address, fingerprint: str) -> Manifest | None:
    manifest = read_manifest(folder)
    if manifest is None or manifest.fingerprint != fingerprint or manifest.address != address.text:
        return None
    return manifest if is_whole(folder, manifest) else None
