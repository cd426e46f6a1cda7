"""exports.cvat: archives that CVAT itself writes, in any of its formats, or backups that it can restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import anyio.to_thread

from specrun.errors import TransientError
from specrun.kinds.exports.cvat_spec import BACKUP, CvatExportSpec, check_format, task_dates
from specrun.kinds.sources.cvat import declared
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Need, Problem


class CvatExport(Kind):
    """What the format cannot hold is lost here as it is in CVAT."""

    Spec = CvatExportSpec
    packages: ClassVar[tuple[str, ...]] = ("cvat-sdk",)

    def check(self, spec: CvatExportSpec, lookup: Lookup) -> Sequence[Problem]:
        kind = lookup.kind_of(spec.from_)
        found = []
        if kind is not None and kind.startswith("sources.") and kind != "sources.cvat":
            found.append(Problem("from", f"{spec.from_} does not come from CVAT", "Name a source of kind cvat."))
        if spec.format == BACKUP and spec.unpack:
            found.append(Problem("unpack", "CVAT restores backups as archives only", "Remove it."))
        return found

    def inputs(self, spec: CvatExportSpec) -> Sequence[Need]:
        return [Need("from", spec.from_)]

    def needs(self, spec: CvatExportSpec, lookup: Lookup) -> Sequence[Need]:
        """With the connection that its source names, or the project that its source names."""
        asked = lookup.spec(spec.from_)
        named = getattr(asked, "connection", None)
        if named is None and (made := getattr(asked, "from_", None)) is not None:
            named = getattr(lookup.spec(made if "." in made else f"cvat_projects.{made}"), "connection", None)
        connection = [Need("connection", named if "." in named else f"connections.{named}")] if named else []
        return [*self.inputs(spec), *connection]

    async def observe(self, spec: CvatExportSpec, look: Look) -> Observation:
        """Raises NodeError: the server has no such format."""
        return await anyio.to_thread.run_sync(_observe, spec, look)

    def resume_key(self, spec: CvatExportSpec) -> Json:
        return [spec.from_, spec.format, spec.save_images, spec.per]

    def run(self, spec: CvatExportSpec, ctx: Context) -> Outputs:
        # The transport, which planning must not load.
        from specrun.clients.cvat.connection import Connection
        from specrun.kinds.cvat_pull.archives import export_archives

        return export_archives(spec, ctx, Connection.from_declaration(declared(ctx.declarations), ctx.secret))


def _observe(spec: CvatExportSpec, look: Look) -> Observation:
    # urllib3 takes 40 ms, which a spec without CVAT does not pay.
    from specrun.clients.cvat.api import Api
    from specrun.clients.cvat.catalogue import formats, tasks_of
    from specrun.clients.cvat.connection import Connection

    made = look.facts(spec.from_) if spec.from_.startswith("cvat_projects.") else None
    connection = Connection.from_declaration(declared(look.declarations), look.secret)
    try:
        with Api.for_a_look(connection, look.settings) as api:
            if spec.format != BACKUP:
                check_format(spec.format, [found.name for found in formats(api) if found.enabled], connection.host)
            tasks = tasks_of(api, ids=made.get("task_ids") or ()) if made else []
    except TransientError:
        if made:
            raise
        # What a source pulled does not change while its server is away, and whether it is, the source says.
        return Observation()
    if not made:
        return Observation()
    value = task_dates(tasks)
    return Observation(value=value, differences=_moved(look.record.observation if look.record else None, value))


def _moved(before: Json, now: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks that are not as they were exported, one line each."""
    known: Mapping[str, Any] = before if isinstance(before, dict) else {}
    old, new = known.get("tasks") or {}, now["tasks"]
    lines = [f"task {task} was edited" for task in new if task in old and new[task] != old[task]]
    lines += [f"task {task} is new" for task in new if task not in old]
    return (*lines, *(f"task {task} was deleted in CVAT" for task in old if task not in new))
