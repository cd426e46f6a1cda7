"""Where everything of a project lies.

    <project_dir>/.specrun/         state.db, lock, cache.db, cache/, runs/<id>/<address>/
    <output_root>/<section>/<name>/     what was made
    <output_root>/.staging/<section>/<name>/<fingerprint>/   what is being made
    <output_root>/.kept/<section>/<name>/<fingerprint>/      earlier outputs, for a rollback
    <output_root>/.specrun-owner        whose output root this is, see store.owner
    <output_root>/.trash/               what was replaced; emptied by trash.empty_trash

Staging, kept and trash lie under the output root because renames must stay on one file system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from specrun.model.address import Address

STATE_DIR_NAME = ".specrun"


@dataclass(frozen=True, slots=True)
class ProjectPaths:
    """project_dir: the folder of the spec. output_root: absolute."""

    project_dir: Path
    output_root: Path

    @property
    def state_dir(self) -> Path:
        return self.project_dir / STATE_DIR_NAME

    @property
    def state_db(self) -> Path:
        return self.state_dir / "state.db"

    @property
    def cache_db(self) -> Path:
        """May be deleted at any time, as everything under `cache_dir`."""
        return self.state_dir / "cache.db"

    @property
    def cache_dir(self) -> Path:
        return self.state_dir / "cache"

    @property
    def lock(self) -> Path:
        return self.state_dir / "lock"

    @property
    def runs(self) -> Path:
        return self.state_dir / "runs"

    def run(self, run_id: str) -> Path:
        return self.runs / run_id

    def node_run(self, run_id: str, address: Address) -> Path:
        return self.runs / run_id / address.folder

    def output(self, address: Address) -> Path:
        return self.output_root / address.folder

    @property
    def staging_root(self) -> Path:
        return self.output_root / ".staging"

    def staging(self, address: Address, fingerprint: str) -> Path:
        return self.staging_root / address.folder / fingerprint

    @property
    def kept_root(self) -> Path:
        return self.output_root / ".kept"

    def kept(self, address: Address) -> Path:
        """The folder that holds the earlier outputs of one node."""
        return self.kept_root / address.folder

    @property
    def trash(self) -> Path:
        return self.output_root / ".trash"

    def relative(self, path: Path) -> str:
        """Posix path relative to the output root, as state stores it, so that the root may be moved."""
        return path.relative_to(self.output_root).as_posix()

    def create(self) -> None:
        """Makes `.specrun` with its folders; what exists is left alone."""
        create_state_dir(self.state_dir)
        self.cache_dir.mkdir(exist_ok=True)
        self.runs.mkdir(exist_ok=True)


def create_state_dir(folder: Path) -> None:
    """A state folder hides itself from git, whatever the project's own .gitignore says."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if folder.name == STATE_DIR_NAME and not ignore.exists():
        ignore.write_text("*\n")
