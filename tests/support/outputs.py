"""Finished staging folders with their records, and what lies where after a publish."""

from __future__ import annotations

from pathlib import Path

from specrun.model.address import Address, parse_address
from specrun.model.artifact import Manifest
from specrun.model.state import NodeRecord
from specrun.store.manifest import collect_files, write_manifest
from specrun.store.paths import ProjectPaths

NODE = Address("models", "unet")


def project_paths(folder: Path) -> ProjectPaths:
    return ProjectPaths(folder, folder / "outputs")


def fingerprint_of(letter: str) -> str:
    return letter * 32


def make_record(
    address: Address | str = NODE, fingerprint: str = "a" * 32, run: str = "run-1", digest: str = ""
) -> NodeRecord:
    where = parse_address(address) if isinstance(address, str) else address
    return NodeRecord(
        address=where,
        kind=f"{where.section}.test",
        kind_version=1,
        fingerprint=fingerprint,
        result_config={"epochs": 3, "sizes": [1, 2]},
        inputs={"dataset": "d" * 32},
        observation={"value": 1},
        digest=digest,
        parts={"media": "m" * 32},
        facts={"images": 2},
        folder=where.folder,
        run=run,
        made_at="2025-01-01T00:00:00+00:00",
        duration_s=1.5,
        notes=("a note",),
    )


def make_manifest(folder: Path, record: NodeRecord) -> Manifest:
    return Manifest(
        address=record.address.text,
        kind=record.kind,
        kind_version=record.kind_version,
        fingerprint=record.fingerprint,
        inputs=record.inputs,
        versions={},
        seed=0,
        files=collect_files(folder, {}),
        parts={},
        facts={},
        notes=(),
        artifacts=(),
        run=record.run,
        made_at=record.made_at,
    )


def stage(
    paths: ProjectPaths, content: str, *, address: Address | str = NODE, fingerprint: str | None = None, run: str = ""
) -> tuple[Path, NodeRecord]:
    """A whole staging folder of two files with this content, made by the run of the same name."""
    record = make_record(address, fingerprint or fingerprint_of(content[0]), run or f"run-{content}")
    staging = paths.staging(record.address, record.fingerprint)
    (staging / "weights").mkdir(parents=True)
    (staging / "weights" / "best.pt").write_text(content)
    (staging / "log.txt").write_text(f"log of {content}")
    manifest = make_manifest(staging, record)
    write_manifest(staging, manifest)
    return staging, make_record(record.address, record.fingerprint, record.run, manifest.digest)


def content_of(folder: Path) -> str | None:
    """What `stage` put there; None: nothing is there. Half content fails."""
    if not folder.exists():
        return None
    content = (folder / "weights" / "best.pt").read_text()
    assert (folder / "log.txt").read_text() == f"log of {content}"
    assert (folder / "manifest.json").exists()
    return content
