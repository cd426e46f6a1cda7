"""Planning during a run: the same spec, frozen, against the world as it is by now."""

from __future__ import annotations

from dataclasses import replace

from specrun.kinds.registry import REGISTRY
from specrun.planner.compile import Wish, make_plan
from specrun.run.estimates import estimate_of
from specrun.run.job import Job
from specrun.run.patience import Patience
from specrun.run.refresh import look_around
from specrun.store.paths import ProjectPaths
from specrun.store.state import State


def replan(job: Job, paths: ProjectPaths, patience: Patience | None = None) -> Job:
    """The job as it would be decided now. Looks at the world, so it takes as long as a plan.

    Raises StateError.
    """
    wish = Wish(targets=job.targets, exclude=job.exclude)
    nodes = [node for node in job.nodes if job.targets is None or node.address in job.targets]
    with State.open(paths.state_db, read_only=True) as state:
        world = look_around(nodes, paths, state, job.settings, REGISTRY, patience=patience)
        digest = state.digest()
    plan = make_plan(job.project, job.nodes, world, wish, estimate=estimate_of(REGISTRY), state=digest)
    return replace(job, plan=plan).having_seen(world)
