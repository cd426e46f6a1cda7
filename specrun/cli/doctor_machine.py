"""What `specrun doctor` looks at on this machine: the database server, space, GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from specrun.cli.findings import Finding, fine, note, wrong
from specrun.clients.mongod_binary import find_mongod
from specrun.errors import NodeError, SpecrunError
from specrun.run.gpu import Gpus, load_nvml
from specrun.spec.project import Project
from specrun.store.filesystem import disk_free, on_network
from specrun.views.quantities import size

LITTLE_SPACE = 5 << 30
MACHINE = "machine"


def machine_findings(project: Project) -> Iterator[Finding]:
    yield from _database(project)
    yield _space(project.output_root)
    yield _gpus(any(node.resources.gpus for node in project.nodes))


def _database(project: Project) -> Iterator[Finding]:
    """Only where nodes work with an embedded one."""
    if not any(node.worker == "fiftyone" for node in project.nodes):
        return
    if project.settings.get("fiftyone", {}).get("database", "embedded") != "embedded":
        return
    state = project.project_dir / ".specrun"
    try:
        found = find_mongod(state / "cache" / "mongod.json")
    except SpecrunError as error:
        yield wrong(MACHINE, "mongod", error)
        return
    yield fine(MACHINE, "mongod", f"{found.version} at {found.path}")
    if on_network(project.project_dir):
        hint = "Move the project to a local disk, or set settings.fiftyone.database to {uri: …}."
        yield wrong(MACHINE, "mongod", NodeError("the project lies on a network file system", hint=hint))


def _space(folder: Path) -> Finding:
    try:
        free = disk_free(folder)
    except OSError as error:
        return wrong(MACHINE, "disk", NodeError(f"{folder}: {error.strerror}"))
    text = f"{size(free)} free for {folder}"
    return note(MACHINE, "disk", text, "That is little for images and models.") if free < LITTLE_SPACE else fine(
        MACHINE, "disk", text
    )  # fmt: skip


def _gpus(wanted: bool) -> Finding:
    found = Gpus(load_nvml()).all
    if found:
        return fine(MACHINE, "GPUs", ", ".join(f"{g.name} ({g.memory_total_mib / 1024:.0f} GiB)" for g in found))
    text = "none that NVIDIA's driver knows"
    return note(MACHINE, "GPUs", f"{text}: nodes with `gpus: 1` run on the CPU") if wanted else fine(
        MACHINE, "GPUs", text
    )  # fmt: skip
