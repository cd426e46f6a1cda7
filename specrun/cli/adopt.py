"""`specrun adopt ADDRESS PATH`: take in a checkpoint or folder that was made elsewhere."""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from specrun.cli.accept import what_it_reads
from specrun.cli.project import one_address, plan_project
from specrun.cli.state import add_project, changing, load_project_of
from specrun.errors import UsageError
from specrun.kinds.registry import REGISTRY
from specrun.model.artifact import Manifest, Outputs
from specrun.model.node import Node
from specrun.planner.fingerprint import fingerprint
from specrun.run.ledger import record_of
from specrun.run.worker import versions
from specrun.spec.kind import kind_of
from specrun.store.manifest import collect_files, read_manifest, write_manifest
from specrun.store.publish import publish
from specrun.store.staging import open_staging


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="the node, for example models.unet")
    parser.add_argument("path", metavar="PATH", help="a folder as the kind makes it, or a checkpoint")
    parser.add_argument("--reason", default="", help="where it comes from; `specrun why` shows it")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    project = load_project_of(arguments)
    nodes = {node.address: node for node in project.nodes}
    address, place = one_address(arguments.address, nodes), Path(arguments.path).resolve()
    if not place.exists():
        raise UsageError(f"{arguments.path}: there is no such file or folder")
    node, now = nodes[address], datetime.now(UTC).isoformat(timespec="milliseconds")
    with changing(project, "adopt") as (state, paths):
        planned = plan_project(project, argparse.Namespace(target=[str(address)], replace=[], exclude=[]))
        read, observed = what_it_reads(node, planned)
        wanted = fingerprint(node, read, observed.value)
        staging, _ = open_staging(paths, address, wanted, None)
        try:
            outputs = _laid_out(node, place, staging)
        except Exception:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        manifest = Manifest(
            address=str(address),
            kind=node.kind,
            kind_version=node.kind_version,
            fingerprint=wanted,
            inputs=read,
            versions=versions(()),
            seed=project.seed if node.seed is None else node.seed,
            files=collect_files(staging, outputs.known_digests),
            parts=outputs.parts,
            facts=outputs.facts,
            notes=(*outputs.notes, f"adopted from {place}"),
            artifacts=outputs.artifacts,
            run="adopted",
            made_at=now,
            observation=observed.value,
        )
        write_manifest(staging, manifest)
        reason = arguments.reason or f"adopted from {place}"
        publish(
            state, paths, staging, record_of(node, manifest, duration_s=0.0, accepted=reason), keep=node.keep, now=now
        )
    sys.stdout.write(f"{address} is what lay in {place}\n")
    return 0


def _laid_out(node: Node, place: Path, staging: Path) -> Outputs:
    """Another specrun's output keeps what its manifest says; anything else the kind lays out itself."""
    kind = kind_of(node.kind, REGISTRY)
    theirs = read_manifest(place) if place.is_dir() else None
    if theirs is not None and theirs.kind == node.kind:
        shutil.copytree(place, staging, dirs_exist_ok=True, symlinks=True)
        return Outputs(theirs.artifacts, theirs.facts, theirs.parts, theirs.notes)
    return kind.adopt(kind.Spec.model_validate(dict(node.config)), place, staging)
