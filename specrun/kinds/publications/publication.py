"""publications: what was made, in a repository of the Hugging Face Hub."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import anyio.to_thread

from specrun.clients.http import Retry
from specrun.clients.hub import head, is_inside
from specrun.kinds.publications.spec import (
    PUBLISHED,
    PublicationSpec,
    account_of,
    connection_address,
    repo_of,
)
from specrun.model.artifact import Outputs
from specrun.model.digest import Json
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, Lookup, Need, Problem

_NOTHING = ("membership",)
"""A part that no output has: a change of it makes nothing stale."""


class Publication(Kind):
    """Unchanged content makes no commit; what others committed stays."""

    Spec = PublicationSpec
    resources: ClassVar[Resources] = Resources(cpus=1.0, network=True)
    packages = ("huggingface_hub",)

    def check(self, spec: PublicationSpec, lookup: Lookup) -> Sequence[Problem]:
        problems = glob_problems("include", spec.include or ()) + glob_problems("exclude", spec.exclude)
        problems += connection_problems(spec.connection, lookup)
        connection = lookup.spec(connection_address(spec.connection))
        if connection is not None and hasattr(connection, "token") and connection.token is None:
            hint = "Add token: {env: HF_TOKEN} to the connection."
            problems.append(Problem("connection", "It has no token, and nobody may write without one.", hint))
        return problems

    def inputs(self, spec: PublicationSpec) -> Sequence[Need]:
        return [Need("artifact", spec.artifact, _NOTHING if spec.when == "manual" else ())]

    async def observe(self, spec: PublicationSpec, look: Look) -> Observation:
        if look.record is None:
            return Observation(value=_value(spec, exists=True))
        return await anyio.to_thread.run_sync(partial(_observe, spec, look))

    def external(self, spec: PublicationSpec) -> bool:
        return True

    def exclusive(self, spec: PublicationSpec) -> Sequence[str]:
        """Two nodes may write into one repository."""
        return [f"hub:{spec.repo}"]

    def resume_key(self, spec: PublicationSpec) -> Json:
        """What was uploaded lies at the Hub and is not sent twice."""
        return {"repo": spec.repo}

    def run(self, spec: PublicationSpec, ctx: Context) -> Outputs:
        # huggingface_hub comes with it.
        from specrun.kinds.publications.run import publish

        return publish(spec, ctx)


def connection_problems(written: str, lookup: Lookup) -> list[Problem]:
    kind = lookup.kind_of(connection_address(written))
    if kind is None or kind == "connections.huggingface":
        return []
    return [Problem("connection", f"{written} is of kind {kind.partition('.')[2]}.", "Name one of kind huggingface.")]


def glob_problems(name: str, globs: Sequence[str]) -> list[Problem]:
    hint = "Write it relative to the repository, without `..`."
    return [
        Problem(f"{name}.{i}", f"{glob!r} leads outside of the repository.", hint)
        for i, glob in enumerate(globs)
        if not is_inside(glob)
    ]


def _value(spec: PublicationSpec, *, exists: bool) -> dict[str, Json]:
    """`always` is never what it was."""
    return {"exists": exists, **({"asked_at": time.time()} if spec.when == "always" else {})}


def _observe(spec: PublicationSpec, look: Look) -> Observation:
    account = account_of(spec.connection, look.declarations, look.secret)
    now = head(account, repo_of(spec), retry=Retry.for_a_look(look.settings))
    value = _value(spec, exists=now is not None)
    if now is None:
        return Observation(value, (f"{spec.repo} is no longer there",))
    published = look.recall(PUBLISHED)
    ours = published.get("commit") if isinstance(published, dict) and published.get("repo") == spec.repo else None
    changes = ("published in every run",) if spec.when == "always" else ()
    if ours is None or ours == now:
        return Observation(value, changes)
    note = f"{spec.repo}: somebody else committed {now[:8]} after {str(ours)[:8]}; the next commit goes on top of it"
    return Observation(value, changes, notes=(note,))
