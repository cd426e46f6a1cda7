"""What a node made, and the manifest that lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specrun.model.digest import Json, files_digest, json_digest

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Artifact:
    """type: folder | file | checkpoint | dataset | report | link.
    place: posix path relative to the node's folder, or a URI (`fiftyone:quickstart.coins`)."""

    name: str
    type: str
    place: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a kind's `run` returns.

    facts: small JSON for consumers and the closing summary (`{"images": 80, "map50": 0.73}`).
    parts: digest by part for consumers that read only a part (`{"media": …, "field:ground_truth": …}`);
        empty: the files are the output.
    notes: what a person should know (`"12 polylines are not part of COCO"`).
    known_digests: relative path → digest, for files whose digest the kind knows already.
    observation: the value observed while running, when it is newer than the planned one.
    """

    artifacts: tuple[Artifact, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    known_digests: Mapping[str, str] = field(default_factory=dict)
    observation: Json = None


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """path: posix, relative to the node's folder. digest: of the bytes (a link's: of its target's)."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`manifest.json`: proof that a folder is whole, and where it came from.

    Written last and synced before the folder is published: a folder whose manifest carries the
    wanted fingerprint is complete. `digest` covers the listed files and the parts, nothing else.
    """

    address: str
    kind: str
    kind_version: int
    fingerprint: str
    inputs: Mapping[str, str]
    versions: Mapping[str, str]
    seed: int
    files: tuple[ManifestFile, ...]
    parts: Mapping[str, str]
    facts: Mapping[str, Json]
    notes: tuple[str, ...]
    artifacts: tuple[Artifact, ...]
    run: str
    made_at: str
    observation: Json = None

    @property
    def digest(self) -> str:
        files = files_digest((f.path, f.digest) for f in self.files)
        return json_digest({"files": files, "parts": dict(self.parts)})

    def to_json(self) -> dict[str, Any]:
        return {
            "format": MANIFEST_FORMAT,
            "address": self.address,
            "kind": self.kind,
            "kind_version": self.kind_version,
            "fingerprint": self.fingerprint,
            "digest": self.digest,
            "inputs": dict(self.inputs),
            "versions": dict(self.versions),
            "seed": self.seed,
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "artifacts": [[a.name, a.type, a.place] for a in self.artifacts],
            "parts": dict(self.parts),
            "observation": self.observation,
            "run": self.run,
            "made_at": self.made_at,
            "files": [[f.path, f.size, f.digest] for f in self.files],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Raises KeyError, TypeError or ValueError: not a manifest of this format."""
        if data["format"] != MANIFEST_FORMAT:
            raise ValueError(f"manifest format {data['format']}, expected {MANIFEST_FORMAT}")
        return cls(
            address=data["address"],
            kind=data["kind"],
            kind_version=data["kind_version"],
            fingerprint=data["fingerprint"],
            inputs=data["inputs"],
            versions=data["versions"],
            seed=data["seed"],
            files=tuple(ManifestFile(*row) for row in data["files"]),
            parts=data["parts"],
            facts=data["facts"],
            notes=tuple(data["notes"]),
            artifacts=tuple(Artifact(*row) for row in data["artifacts"]),
            run=data["run"],
            made_at=data["made_at"],
            observation=data["observation"],
        )
