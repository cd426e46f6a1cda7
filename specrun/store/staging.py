"""Folders in which something is being made, and what a killed run left in them.

A note `.resume.json` says what the folder was begun for. `write_manifest` removes it, so that it is never published:
    {"fingerprint": …, "resume": …, "spent_s": …, "began_at": …, "config": …, "read": …}
spent_s: seconds of work in earlier attempts. began_at: of the last one, seconds since the epoch; it went on until the
note's own modification time, which `keep_time` moves on, so that a killed run's time counts as well.
config, read: what the last attempt worked by, and the digests of what it read.
A note with `"waiting": true` was left by work that waits for people.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.errors import NodeError
from specrun.model.address import Address, path_safe
from specrun.model.artifact import MANIFEST_NAME, Manifest
from specrun.model.digest import Json, canonical_json
from specrun.store.manifest import NOTE_NAME, is_whole, read_manifest
from specrun.store.paths import ProjectPaths

_WORTH_KEEPING_S = 60.0


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


def write_staging_note(staging: Path, fingerprint: str, resume: Json, *, spent_s: float = 0.0) -> None:
    _write_note(staging, {"fingerprint": fingerprint, "resume": resume, "spent_s": spent_s})


def begin_work(
    staging: Path, now: float, *, config: Mapping[str, Json] | None = None, read: Mapping[str, str] | None = None
) -> float:
    """Notes that an attempt begins; returns the seconds that earlier ones in this folder took.

    now: seconds since the epoch. config, read: by which it works, and from what.
    Raises OSError, ValueError: there is no note that could be read.
    """
    note = json.loads((staging / NOTE_NAME).read_text())
    spent_s = _spent(staging, note)
    kept = {name: value for name, value in note.items() if name != "waiting"}
    worked = {"config": dict(config or {}), "read": dict(read or {})}
    _write_note(staging, {**kept, **worked, "spent_s": spent_s, "began_at": now})
    return spent_s


def keep_time(staging: Path) -> None:
    """The attempt still goes on. A folder that is finished has no note any more."""
    with suppress(FileNotFoundError):
        os.utime(staging / NOTE_NAME)


def leave_waiting(staging: Path) -> None:
    """The work ended for now because people owe something: what is here is used when it goes on."""
    with suppress(FileNotFoundError):
        note = json.loads((staging / NOTE_NAME).read_text())
        kept = {name: value for name, value in note.items() if name != "began_at"}
        _write_note(staging, {**kept, "spent_s": _spent(staging, note), "waiting": True})


def was_cut_off(staging: Path) -> bool:
    """Work began here, was neither published nor left to wait for people."""
    try:
        note = json.loads((staging / NOTE_NAME).read_text())
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return not note.get("waiting", False)


def is_waiting(staging: Path) -> bool:
    """The work here ended for now because people owe something."""
    try:
        return bool(json.loads((staging / NOTE_NAME).read_text()).get("waiting", False))
    except (OSError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class LeftWork:
    """What an attempt that did not end well left. config: it worked by; {}: not known. read: digests of its inputs.
    folder: None when what is declared now cannot go on with it."""

    config: Mapping[str, Json]
    read: Mapping[str, str]
    folder: Path | None


def left_work(paths: ProjectPaths, address: Address, resume: Json) -> LeftWork | None:
    """Of the newest attempt that what is declared now can go on with, else of the newest. Changes nothing; None: there
    is none."""
    folders = [folder for folder in staging_folders(paths, address) if (folder / NOTE_NAME).is_file()]
    usable = [folder for folder in folders if resume is not None and _begun_with(folder, resume)]
    try:
        newest = max(usable or folders, key=lambda folder: (folder / NOTE_NAME).stat().st_mtime_ns)
        note = json.loads((newest / NOTE_NAME).read_text())
        goes_on = bool(usable)
        return LeftWork(dict(note.get("config", {})), dict(note.get("read", {})), newest if goes_on else None)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def is_worth_keeping(staging: Path) -> bool:
    """Work of minutes with which its settings could go on, if they are declared again."""
    try:
        note = json.loads((staging / NOTE_NAME).read_text())
        return note["resume"] is not None and _spent(staging, note) >= _WORTH_KEEPING_S
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _spent(staging: Path, note: Mapping[str, Any]) -> float:
    began_at = note.get("began_at")
    last = max(0.0, (staging / NOTE_NAME).stat().st_mtime - began_at) if began_at is not None else 0.0
    return float(note.get("spent_s", 0.0)) + last


def _write_note(staging: Path, note: Mapping[str, Any]) -> None:
    partial = staging / f"{NOTE_NAME}.partial"
    partial.write_text(json.dumps(note))
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
    newest = max(others, key=lambda folder: folder.stat().st_mtime_ns)
    spent_s = _spent(newest, json.loads((newest / NOTE_NAME).read_text()))
    os.rename(newest, wanted)
    (wanted / MANIFEST_NAME).unlink(missing_ok=True)
    write_staging_note(wanted, fingerprint, resume, spent_s=spent_s)
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
