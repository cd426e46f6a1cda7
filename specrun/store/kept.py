"""Outputs as their manifests tell of them, where the state does not."""

from __future__ import annotations

import os
from pathlib import Path

from specrun.model.address import Address, parse_address
from specrun.model.artifact import MANIFEST_NAME, Manifest
from specrun.model.state import NodeRecord
from specrun.store.manifest import is_whole, read_manifest
from specrun.store.paths import ProjectPaths
from specrun.store.rows import Earlier
from specrun.store.state import State


def is_output_of(folder: Path, address: Address) -> bool:
    manifest = read_manifest(folder)
    return manifest is not None and manifest.address == address.text


def record_in(folder: Path, address: Address) -> NodeRecord | None:
    """The record of a whole output; the config that it was made with is not known. None: there is none."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.address != address.text or not is_whole(folder, manifest):
        return None
    return _record_of(manifest)


def unknown_kept(state: State, paths: ProjectPaths) -> tuple[Path, ...]:
    """Folders under .kept that this state neither counts nor gave up: another project's, or left by a lost state."""
    known = {earlier.folder for earlier in state.earlier()} | set(state.given_up())
    known |= {place for intent in state.intents() for place in (intent.aside, intent.staging)}
    return tuple(folder for folder in _kept_folders(paths.kept_root) if paths.relative(folder) not in known)


def take_back_kept(state: State, paths: ProjectPaths) -> None:
    """Earlier outputs that a lost state knew are counted again; those that are damaged or misplaced stay unknown."""
    with state.transaction():
        for folder in unknown_kept(state, paths):
            manifest = read_manifest(folder)
            if manifest is None:
                continue
            try:
                address = parse_address(manifest.address)
            except ValueError:
                continue
            if folder.parent == paths.kept(address) and (record := record_in(folder, address)):
                state.put_earlier(Earlier(record, paths.relative(folder), manifest.made_at))


def _kept_folders(root: Path) -> list[Path]:
    """Folders that hold an output: those with a manifest; the way down to them has none."""
    found = []
    for folder, names, files in os.walk(root):
        if MANIFEST_NAME in files:
            found.append(Path(folder))
            names.clear()
    return sorted(found)


def _record_of(manifest: Manifest) -> NodeRecord:
    address = parse_address(manifest.address)
    return NodeRecord(
        address=address,
        kind=manifest.kind,
        kind_version=manifest.kind_version,
        fingerprint=manifest.fingerprint,
        result_config={},
        inputs=manifest.inputs,
        observation=manifest.observation,
        digest=manifest.digest,
        parts=manifest.parts,
        facts=manifest.facts,
        folder=address.folder,
        run=manifest.run,
        made_at=manifest.made_at,
        duration_s=0.0,
        notes=manifest.notes,
    )
