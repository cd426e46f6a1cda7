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
from specrun.store.kept import is_output_of, record_in
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
    output = paths.output(record.address)
    current = state.record(record.address)
    check_place(state, paths, record.address, recorded=current is not None)
    old = None
    if publication.keep > 0 and (output / MANIFEST_NAME).exists():
        old = current or record_in(output, record.address)
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


def check_place(state: State, paths: ProjectPaths, address: Address, *, recorded: bool) -> None:
    """Raises NodeError: something that does not belong to the old output would be moved away with it."""
    for other in state.nested(address):
        if is_output_of(paths.output(other), other):
            raise NodeError(
                f"{address}: its folder lies in or around that of {other}, which the spec no longer declares.",
                hint=f"Run `specrun prune {other}`, then apply again.",
            )
    output = paths.output(address)
    if not os.path.lexists(output) or is_output_of(output, address) or not _holds_files(output):
        return
    damaged = (output / MANIFEST_NAME).exists() and read_manifest(output) is None
    if not (recorded and damaged):
        raise NodeError(
            f"{address}: {output} exists and was not made by specrun for it.", hint="Move it away, then apply again."
        )


def _holds_files(place: Path) -> bool:
    """Whether there is anything but empty folders."""
    if place.is_symlink() or not place.is_dir():
        return True
    return any(files for _, _, files in os.walk(place))
