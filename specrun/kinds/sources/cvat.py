"""sources.cvat: what people finished in CVAT, pulled task by task and only where something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import anyio.to_thread

from specrun.errors import NodeError
from specrun.kinds.cvat_pull.spec import CvatSourceSpec, problems
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Need, Problem

_SECTION = "connections."


class CvatSource(Kind):
    """Annotations by the live API, images by whole chunks; unchanged tasks cost no request."""

    Spec = CvatSourceSpec
    packages: ClassVar[tuple[str, ...]] = ("cvat-sdk",)

    def check(self, spec: CvatSourceSpec, lookup: Lookup) -> Sequence[Problem]:
        return list(problems(spec))

    def inputs(self, spec: CvatSourceSpec) -> Sequence[Need]:
        media = [Need("media", name, ("media",)) for name in spec.media.from_ if name.startswith("sources.")]
        if spec.from_ is None:
            return media
        return [Need("project", _address(spec.from_, "cvat_projects")), *media]

    def needs(self, spec: CvatSourceSpec, lookup: Lookup) -> Sequence[Need]:
        """With `from`, also the connection of the project, which its entry names."""
        made = lookup.spec(_address(spec.from_, "cvat_projects")) if spec.from_ else None
        named = getattr(made, "connection", None)
        connection = [Need("connection", _address(named, "connections"))] if named else []
        return [*self.inputs(spec), *connection]

    async def observe(self, spec: CvatSourceSpec, look: Look) -> Observation:
        """Three listings a project, never a request a task."""
        return await anyio.to_thread.run_sync(_observe, spec, look)

    def resume_key(self, spec: CvatSourceSpec) -> Json:
        """What was fetched serves any selection; images depend on `media`, and say so themselves."""
        return [spec.connection, spec.project, list(spec.tasks or ()), spec.from_]

    def run(self, spec: CvatSourceSpec, ctx: Context) -> Outputs:
        # The transport and numpy, which planning must not load.
        from specrun.clients.cvat.connection import Connection
        from specrun.kinds.cvat_pull.pull import pull

        return pull(spec, ctx, Connection.from_declaration(declared(ctx.declarations), ctx.secret))


def declared(declarations: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one connection that the node names, by itself or by what it reads."""
    found = [value for address, value in declarations.items() if address.startswith(_SECTION)]
    if len(found) != 1:
        raise NodeError(f"it reaches CVAT by {len(found)} connections, expected one.")
    connection: Mapping[str, Any] = found[0]
    return connection


def _address(name: str, section: str) -> str:
    return name if "." in name.split("[")[0] else f"{section}.{name}"


def _observe(spec: CvatSourceSpec, look: Look) -> Observation:
    # urllib3 takes 40 ms, which a spec without CVAT does not pay.
    from specrun.clients.cvat.api import Api
    from specrun.clients.cvat.connection import Connection
    from specrun.kinds.cvat_pull.ask import ask
    from specrun.kinds.cvat_pull.choose import check_wanted, choose, missing, standing

    made = look.facts(_address(spec.from_, "cvat_projects")) if spec.from_ else None
    before = look.record.observation if look.record else None
    if spec.from_ and made is None:
        return Observation(value=before)
    connection = Connection.from_declaration(declared(look.declarations), look.secret)
    with Api.for_a_look(connection, look.settings) as api:
        asked = ask(api, spec, made, before)
    choices = choose(spec, asked.tasks, asked.jobs)
    project = asked.project.id if asked.project else None
    found = standing(
        spec, choices, asked.labels, before=before, host=connection.host, project=project, moved=asked.moved
    )
    check_wanted(spec, choices, found, asked.where)
    owed = missing(spec, found, connection.url)
    # Of a node that waits, the plan shows no differences.
    told = found.changes if owed or not look.record else ()
    named = {f"{choice.title} is out: {choice.reason}" for choice in found.waiting} if owed else set()
    return Observation(
        value=found.value,
        differences=found.changes,
        missing=owed,
        notes=(*told, *found.reports, *(line for line in found.remarks if line not in named)),
    )
