"""What a kind's `run` and `observe` are handed: the seams between kinds and the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from specrun.model.address import Address
from specrun.model.artifact import Artifact
from specrun.model.digest import Json
from specrun.model.state import NodeRecord

WORKER_MARK = "SPECRUN_WORKER"
"""Environment variable that all programs of one worker share, so that they can be ended with it."""


@dataclass(frozen=True, slots=True)
class Made:
    """An input as it was made: folder is absolute; facts, parts and artifacts are its manifest's.

    config: the input node's own config, for consumers that need to know how it was declared.
    """

    address: Address
    kind: str
    folder: Path
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    def artifact(self, name: str) -> Path:
        """Absolute path of a named artifact; raises KeyError."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return self.folder / artifact.place
        raise KeyError(f"{self.address} made no artifact named {name}")


class Context(Protocol):
    """Handed to `Kind.run` in the worker. Everything it reports becomes an event of the run."""

    address: Address
    staging: Path
    """Where the output is written; published whole when `run` returns. Holds what an interrupted run left."""
    output: Path
    """Where it will lie once published. Never write here."""
    previous: Path | None
    """The published output of last time, read-only, or None."""
    project_dir: Path
    """The folder of the spec; relative paths in the config are relative to it."""
    output_root: Path
    run_folder: Path
    """This node's folder of the run: log.txt, metrics.jsonl, request.json."""
    cache_dir: Path
    """Of the project; anything in it may vanish."""
    seed: int
    gpus: tuple[int, ...]
    """Indices leased; () means: use the CPU. CUDA_VISIBLE_DEVICES is already set."""
    cpus: int
    """Threads that this node should use."""
    settings: Mapping[str, Any]
    declarations: Mapping[str, Any]
    """Address → resolved JSON of the taxonomies, skeletons and connections that the config names."""
    resumed: bool
    replaced: bool
    """It is made anew because a person said --replace."""
    project_name: str
    """`project.name` of the spec; "" where it is not known."""

    def inputs(self, role: str) -> Sequence[Made]: ...
    def input(self, role: str) -> Made:
        """The one input with that role; raises KeyError."""
        ...

    def progress(
        self, done: float, total: float | None = None, unit: str = "", phase: str = "", *, part: bool = False
    ) -> None:
        """part: done and total are of this phase alone; they tell nothing of how far the whole is."""
        ...

    def metric(self, name: str, step: float, value: float) -> None: ...
    def log(self, text: str) -> None: ...
    def artifact(self, artifact: Artifact) -> None:
        """Announce something early; what `run` returns is announced anyway."""
        ...

    def stop_requested(self) -> bool: ...
    def check_stop(self) -> None:
        """Raises StopRequested when the run was asked to stop."""
        ...

    def remember(self, key: str, value: Json) -> None:
        """Durable before it returns; kept across runs of this address."""
        ...

    def recall(self, key: str) -> Json: ...
    def secret(self, reference: Json) -> str:
        """The value behind `{env: NAME}` and the like; raises CredentialsError."""
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """Files under a folder. digest: of all names and contents. files: (relative posix path, size, digest)."""

    digest: str
    count: int
    size_bytes: int
    files: tuple[tuple[str, int, str], ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class Look(Protocol):
    """Handed to `Kind.observe`: read-only and cheap. `stat` comes before reading any content."""

    address: Address
    project_dir: Path
    output_root: Path
    state_dir: Path
    """`.specrun`."""
    settings: Mapping[str, Any]
    declarations: Mapping[str, Any]
    record: NodeRecord | None

    def listing(self, folder: Path, include: Sequence[str] = ("**/*",), exclude: Sequence[str] = ()) -> Listing:
        """Content listing with cached digests: an unchanged `stat` (size, mtime, ctime, inode) is believed.

        Blocking: call it through `anyio.to_thread.run_sync`. Raises NodeError: no such folder.
        """
        ...

    def file_digest(self, path: Path) -> str | None:
        """Digest of one file by the same cache; None: it does not exist."""
        ...

    def file_digests(self, paths: Sequence[Path]) -> Mapping[Path, str | None]:
        """The same for many, much faster."""
        ...

    def recall(self, key: str) -> Json:
        """What the node's own `run` remembered."""
        ...

    def secret(self, reference: Json) -> str:
        """The value behind `{env: NAME}` and the like; blocking, since it may be what a command prints.

        Raises CredentialsError.
        """
        ...

    def facts(self, address: str) -> Mapping[str, Any] | None:
        """What another node told of its last output; None: it was never made."""
        ...
