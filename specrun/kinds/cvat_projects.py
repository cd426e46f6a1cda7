"""cvat_projects: annotation work in CVAT. A project with its labels, tasks of images, labels to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import anyio.to_thread

from specrun.kinds.cvat_send.checking import problems
from specrun.kinds.cvat_send.spec import CvatProjectSpec
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Need, Problem

_NOTHING = ("membership",)
"""A part that no output has: the input is made before, and its content makes nothing stale."""


class CvatProject(Kind):
    """Sent is sent: an image that is in CVAT stays there as it is, whatever a new model says of it."""

    Spec = CvatProjectSpec
    resources: ClassVar[Resources] = Resources(cpus=2.0, network=True)
    packages = ("cvat-sdk",)

    def check(self, spec: CvatProjectSpec, lookup: Lookup) -> Sequence[Problem]:
        return problems(spec, lookup)

    def inputs(self, spec: CvatProjectSpec) -> Sequence[Need]:
        return [Need("images", spec.tasks.from_, ("media",)), *_prelabel_needs(spec, None)]

    def needs(self, spec: CvatProjectSpec, lookup: Lookup) -> Sequence[Need]:
        """The images of predictions are those that they were made on."""
        prelabels = _prelabel_needs(spec, lookup)
        if not spec.tasks.from_.startswith("predictions."):
            return [Need("images", spec.tasks.from_, ("media",)), *prelabels]
        place = getattr(lookup.spec(spec.tasks.from_), "on", None)
        images = [Need("images", str(place), ("media",))] if place is not None else []
        return [*images, Need("predicted", spec.tasks.from_, _NOTHING), *prelabels]

    async def observe(self, spec: CvatProjectSpec, look: Look) -> Observation:
        """Of a node that was never made: what an apply would make, and whether the server lets us in."""
        # The wire: loaded where a server is asked.
        from specrun.clients.cvat.api import Api
        from specrun.clients.cvat.connection import Connection
        from specrun.kinds.cvat_send.foretelling import foretold, new_labels
        from specrun.kinds.cvat_send.observing import differing_note, observe_project

        declared = look.declarations[connection_address(spec)]
        connection = await anyio.to_thread.run_sync(partial(Connection.from_declaration, declared, look.secret))
        with Api.for_a_look(connection, look.settings) as api:
            if look.record is None:
                return Observation(notes=await anyio.to_thread.run_sync(partial(foretold, api, spec, look)))
            seen = await anyio.to_thread.run_sync(partial(observe_project, api, spec, look.record))
            added = await anyio.to_thread.run_sync(partial(new_labels, api, spec, look))
        notes = await anyio.to_thread.run_sync(partial(differing_note, spec, look))
        return replace(seen, notes=(*seen.notes, *added, *notes))

    def resume_key(self, spec: CvatProjectSpec) -> Json:
        """What an upload left spares the next attempt what the server has."""
        return {"connection": spec.connection, "project": spec.project}

    def external(self, spec: CvatProjectSpec) -> bool:
        return True

    def exclusive(self, spec: CvatProjectSpec) -> Sequence[str]:
        """Two nodes may bring the labels of one project in line."""
        return [f"cvat:{connection_address(spec)}:{spec.project or ''}"]

    def run(self, spec: CvatProjectSpec, ctx: Context) -> Outputs:
        # The wire and numpy come with it.
        from specrun.kinds.cvat_send.sending import Sending, connect

        with connect(spec, ctx) as api:
            return Sending(spec, ctx, api).run()


def connection_address(spec: CvatProjectSpec) -> str:
    return spec.connection if "." in spec.connection else f"connections.{spec.connection}"


def _prelabel_needs(spec: CvatProjectSpec, lookup: Lookup | None) -> list[Need]:
    """With `refresh: never` the content of the labels makes nothing stale."""
    given = spec.prelabels
    if given is None:
        return []
    if given.refresh == "never":
        return [Need("prelabels", given.from_, _NOTHING)]
    parts: tuple[str, ...] = ()
    if given.from_.startswith("datasets."):
        dataset = lookup.spec(given.from_) if lookup is not None else None
        field = given.label_field or getattr(dataset, "label_field", None) or "ground_truth"
        parts = ("media", f"field:{field}")
    return [Need("prelabels", given.from_, parts)]
