"""A kind that waits until nobody owes anything: a file names those who do, a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specrun.errors import NodeError, WaitingForPeople
from specrun.model.artifact import Artifact, Outputs
from specrun.model.node import Resources
from specrun.model.state import Observation
from specrun.model.work import Context, Look
from specrun.spec.kind import Kind, NodeSpec


class ReviewSpec(NodeSpec):
    owed: str
    """The file."""
    looks: bool = True
    """Planning looks at it too; otherwise only the work does."""


class Review(Kind):
    Spec = ReviewSpec
    resources = Resources(cpus=0)

    async def observe(self, spec: Any, look: Look) -> Observation:
        if not spec.looks:
            return Observation()
        look.file_digest(look.project_dir / spec.owed)  # so that `watch` follows it
        return Observation(missing=_owed(look.project_dir / spec.owed))

    def run(self, spec: Any, ctx: Context) -> Outputs:
        missing = _owed(ctx.project_dir / spec.owed)
        if missing:
            raise WaitingForPeople("\n".join(missing))
        (ctx.staging / "value").write_text("reviewed")
        return Outputs(artifacts=(Artifact("value", "file", "value"),))


def _owed(path: Path) -> tuple[str, ...]:
    """Raises NodeError: the server, as it were, does not answer."""
    if not path.exists():
        raise NodeError(f"{path} is not there")
    return tuple(line for line in path.read_text().splitlines() if line)
