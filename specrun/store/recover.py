"""After a kill: intents that were left are carried to their end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from specrun.errors import StateError
from specrun.model.address import Address
from specrun.model.artifact import MANIFEST_NAME
from specrun.store.filesystem import sync_filesystem
from specrun.store.manifest import is_whole, manifest_digest, read_manifest
from specrun.store.moves import Step, commit, move, no_step, sweep
from specrun.store.owner import claim_output_root
from specrun.store.paths import ProjectPaths
from specrun.store.rows import Intent
from specrun.store.state import State


class Ending(StrEnum):
    PUBLISHED = "published"
    """The new output is in place and recorded."""
    RESTORED = "restored"
    """The new output was not whole or had gone: the old one is in place again, or never left it."""


@dataclass(frozen=True, slots=True)
class Recovered:
    address: Address
    ending: Ending


def recover(state: State, paths: ProjectPaths, *, step: Step = no_step) -> tuple[Recovered, ...]:
    """Rolls forward whatever a kill left, under the project lock; harmless when there is nothing, or repeated.

    First of all the output root is claimed (store.owner).
    Raises StateError: a folder cannot be moved; UsageError: the output root is another project's.
    """
    claim_output_root(state, paths)
    return tuple(_recover(state, paths, intent, step) for intent in state.intents())


def _recover(state: State, paths: ProjectPaths, intent: Intent, step: Step) -> Recovered:
    address = intent.record.address
    output, staging = paths.output_root / intent.output, paths.output_root / intent.staging
    try:
        if _is_new(staging, intent):
            move(paths, intent, step)
        elif not _is_new(output, intent):
            _put_back(paths, intent)
            state.drop_intent(address)
            return Recovered(address, Ending.RESTORED)
    except OSError as error:
        raise StateError(
            f"{address}: a publish that was interrupted cannot be finished: {error}.",
            hint="Nothing was deleted. Mend this, then run the command again.",
        ) from error
    sync_filesystem(paths.output_root)
    step("synced")
    commit(state, [intent])
    step("committed")
    sweep(paths, intent)
    return Recovered(address, Ending.PUBLISHED)


def _is_new(folder: Path, intent: Intent) -> bool:
    """Whether this is the folder that was to be published, with all its files."""
    if manifest_digest(folder) != intent.manifest:
        return False
    manifest = read_manifest(folder)
    return manifest is not None and is_whole(folder, manifest)


def _put_back(paths: ProjectPaths, intent: Intent) -> None:
    """The old output returns; the rest of the new one stays in staging, without the manifest that calls it whole."""
    output, staging, aside = (paths.output_root / place for place in (intent.output, intent.staging, intent.aside))
    if manifest_digest(output) == intent.manifest and not os.path.lexists(staging):
        staging.parent.mkdir(parents=True, exist_ok=True)
        os.rename(output, staging)
    if os.path.lexists(aside) and not os.path.lexists(output):
        os.rename(aside, output)
    if not intent.restored:
        (staging / MANIFEST_NAME).unlink(missing_ok=True)
