"""Publishing: a finished staging folder becomes the output, whole or not at all; see store.moves for the order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from specrun.errors import NodeError, SpecrunError, StateError
from specrun.model.address import Address
from specrun.model.artifact import MANIFEST_NAME
from specrun.model.state import NodeRecord
from specrun.store.manifest import manifest_digest, read_manifest
from specrun.store.moves import Step, carry_out, no_step, place_aside
from specrun.store.paths import ProjectPaths
from specrun.store.rows import Intent
from specrun.store.state import State


@dataclass(frozen=True, slots=True)
class Publication:
    """staging: a folder with a manifest, under the output root. keep: how many earlier outputs stay."""

    staging: Path
    record: NodeRecord
    keep: int = 0


def publish(
    state: State,
    paths: ProjectPaths,
    staging: Path,
    record: NodeRecord,
    *,
    keep: int = 0,
    now: str,
    step: Step = no_step,
) -> None:
    """Makes staging the output of record.address and the record its state. now: ISO 8601, for kept outputs.

    Raises NodeError: the output's place is taken by something that specrun did not make, or cannot be moved;
    then the old output and staging are as they were.
    """
    failures = publish_many(state, paths, [Publication(staging, record, keep)], now=now, step=step)
    if failures:
        raise failures[record.address]


def publish_many(
    state: State,
    paths: ProjectPaths,
    publications: Iterable[Publication],
    *,
    now: str,
    step: Step = no_step,
) -> dict[Address, SpecrunError]:
    """Publishes a batch of different nodes with two commits and one sync; returns those that failed."""
    failures: dict[Address, SpecrunError] = {}
    intents: list[Intent] = []
    for publication in publications:
        try:
            intents.append(_intend(state, paths, publication, now))
        except SpecrunError as error:
            failures[publication.record.address] = error
    return failures | carry_out(state, paths, intents, step)


def _intend(state: State, paths: ProjectPaths, publication: Publication, now: str) -> Intent:
    record, staging = publication.record, publication.staging
    manifest = read_manifest(staging)
    known_by = manifest_digest(staging)
    if manifest is None or known_by is None or manifest.fingerprint != record.fingerprint:
        raise StateError(f"{staging}: has no manifest of fingerprint {record.fingerprint}; it cannot be published.")
    current = state.record(record.address)
    output = paths.output(record.address)
    _check_place(state, paths, record.address, ours=current is not None)
    old = current if publication.keep > 0 and (output / MANIFEST_NAME).exists() else None
    return Intent(
        record=record,
        staging=paths.relative(staging),
        output=paths.relative(output),
        aside=place_aside(paths, old, record.address),
        manifest=known_by,
        old=old,
        keep=publication.keep,
        restored="",
        at=now,
    )


def _check_place(state: State, paths: ProjectPaths, address: Address, *, ours: bool) -> None:
    """Raises NodeError: something that does not belong to the old output would be moved away with it."""
    output = paths.output(address)
    other = state.nested(address)
    if other and os.path.lexists(paths.output(other)):
        raise NodeError(
            f"{address}: its folder lies in or around that of {other}, which the spec no longer declares.",
            hint=f"Run `specrun prune {other}`, then apply again.",
        )
    if not ours and os.path.lexists(output) and not (output / MANIFEST_NAME).exists() and _holds_files(output):
        raise NodeError(
            f"{address}: {output} exists and was not made by specrun.", hint="Move it away, then apply again."
        )


def _holds_files(place: Path) -> bool:
    """Whether there is anything but empty folders."""
    if place.is_symlink() or not place.is_dir():
        return True
    return any(files for _, _, files in os.walk(place))
