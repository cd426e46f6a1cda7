"""The movement that publishing, recovery and rollback share: one folder takes the place of another.

    manifest in staging          (by the caller)
    intent in state              from here on `recover` knows what was going on
    old output moved aside       to .kept when earlier outputs are kept, else to .trash
    staging renamed
    file system synced           contents and names, once for a batch
    state committed              record put, intent removed, earlier outputs beyond `keep` forgotten
    rest swept                   other staging folders of the node; folders are deleted by `empty_trash` only

A kill between any two leaves either the old output or the new one or, for a moment, none with the old one aside;
`recover` looks at what lies where and rolls forward, or back when the new folder is not whole. A folder is known
by the digest of its manifest's bytes, since a node made again has the same fingerprint as before.
In a rollback a kept folder stands in the place of staging.

step: called after each of these with its name; tests stop the process there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from specrun.errors import NodeError
from specrun.model.address import Address
from specrun.model.state import NodeRecord
from specrun.store.filesystem import sync_filesystem
from specrun.store.paths import ProjectPaths
from specrun.store.rows import Earlier, Intent
from specrun.store.staging import is_worth_keeping, staging_folders, throw_away, trash_name
from specrun.store.state import State

STEPS = ("intent", "aside", "renamed", "synced", "committed", "swept")
Step = Callable[[str], None]


def no_step(name: str) -> None:
    """Nothing happens between the steps."""


def carry_out(
    state: State, paths: ProjectPaths, intents: Sequence[Intent], step: Step = no_step
) -> dict[Address, NodeError]:
    """From the intent to the sweeping; also what a rollback does."""
    if not intents:
        return {}
    failures: dict[Address, NodeError] = {}
    with state.transaction():
        for intent in intents:
            state.put_intent(intent)
    step("intent")
    moved: list[Intent] = []
    for intent in intents:
        try:
            move(paths, intent, step)
            moved.append(intent)
        except OSError as error:
            failures[intent.record.address] = _undo(state, paths, intent, error)
    sync_filesystem(paths.output_root)
    step("synced")
    commit(state, moved)
    step("committed")
    for intent in moved:
        sweep(paths, intent)
    step("swept")
    return failures


def move(paths: ProjectPaths, intent: Intent, step: Step) -> None:
    """Old output aside, staging in its place; raises OSError."""
    output, staging, aside = (paths.output_root / place for place in (intent.output, intent.staging, intent.aside))
    if os.path.lexists(output):
        if os.path.lexists(aside):
            throw_away(paths, output, intent.record.address)
        else:
            aside.parent.mkdir(parents=True, exist_ok=True)
            os.rename(output, aside)
    step("aside")
    output.parent.mkdir(parents=True, exist_ok=True)
    os.rename(staging, output)
    step("renamed")


def commit(state: State, intents: Iterable[Intent]) -> None:
    with state.transaction():
        for intent in intents:
            address = intent.record.address
            state.put_record(intent.record)
            if intent.restored:
                state.drop_earlier(address, intent.restored)
            if intent.old:
                state.put_earlier(Earlier(intent.old, intent.aside, intent.at))
            for earlier in state.earlier(address)[intent.keep :]:
                state.give_up_earlier(address, earlier.folder)


def sweep(paths: ProjectPaths, intent: Intent) -> None:
    """Other staging folders of the node were begun for what is no longer wanted. One that resists stays, and so does
    the newest with minutes of work in it: a trial of other settings must not cost what was trained before."""
    if intent.restored:
        return
    parent = (paths.output_root / intent.staging).parent
    try:
        os.rmdir(parent)
    except OSError:
        folders = staging_folders(paths, intent.record.address)
        kept = max(filter(is_worth_keeping, folders), key=lambda folder: folder.stat().st_mtime_ns, default=None)
        for folder in (folder for folder in folders if folder != kept):
            with suppress(OSError):
                throw_away(paths, folder, intent.record.address)


def place_aside(paths: ProjectPaths, record: NodeRecord | None, address: Address) -> str:
    """Where the output of before goes: a free folder under .kept when its record is handed in, else the trash."""
    if record is None:
        return paths.relative(paths.trash / trash_name(address))
    folder = paths.kept(address)
    place, count = folder / record.fingerprint, 1
    while os.path.lexists(place):
        count += 1
        place = folder / f"{record.fingerprint}-{count}"
    return paths.relative(place)


def _undo(state: State, paths: ProjectPaths, intent: Intent, error: OSError) -> NodeError:
    output, aside = paths.output_root / intent.output, paths.output_root / intent.aside
    if not os.path.lexists(output) and os.path.lexists(aside):
        os.rename(aside, output)
    state.drop_intent(intent.record.address)
    if error.errno == errno.EXDEV:
        hint = f"Everything under {paths.output_root} must lie on one file system: set project.output_root instead."
    else:
        hint = "The old output and the finished work are as they were; apply again once this is mended."
    return NodeError(f"{intent.record.address}: cannot be published to {output} ({error.strerror}).", hint=hint)
