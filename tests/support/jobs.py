"""Little jobs of `steps` nodes, planned and run by the real executor with real worker processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from specrun.kinds.registry import REGISTRY
from specrun.kinds.steps.step import StepSpec
from specrun.model.address import parse_address
from specrun.model.event import Event
from specrun.model.node import Input, Node, Resources
from specrun.model.plan import Plan
from specrun.planner.compile import Wish, make_plan
from specrun.run.control import Ask, Wanted, send
from specrun.run.job import Job
from specrun.run.launch import new_run_id
from specrun.run.refresh import look_around
from specrun.run.supervisor import Supervision, supervise
from specrun.store.paths import ProjectPaths
from specrun.store.state import State


def step(name: str, argv: Sequence[str], *, inputs: Mapping[str, str] | None = None, **more: Any) -> Node:
    """A node as the spec would compile it. more: further keys of the step, or of the node."""
    node_keys = {k: more.pop(k) for k in ("resources", "retries", "timeout_s", "keep") if k in more}
    spec = StepSpec(argv=list(argv), inputs=dict(inputs or {}), **more)
    config = spec.model_dump(mode="json", by_alias=True)
    for common in ("matrix", "resources", "retries", "timeout", "enabled", "after", "keep", "description"):
        config.pop(common)
    result = {k: v for k, v in config.items() if k != "resume"}
    return Node(
        parse_address(f"steps.{name}"),
        "steps.step",
        1,
        config,
        result,
        tuple(Input(role, parse_address(a)) for role, a in (inputs or {}).items()),
        resources=node_keys.pop("resources", Resources(cpus=0)),
        resume={"argv": list(argv)} if spec.resume else None,
        **node_keys,
    )


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def plan_job(folder: Path, nodes: Sequence[Node], wish: Wish | None = None) -> Job:
    from datetime import datetime

    paths = ProjectPaths(folder, folder / "outputs")
    state = State.open(paths.state_db, read_only=True) if paths.state_db.exists() else None
    world = look_around(nodes, paths, state, {}, REGISTRY)
    if state:
        state.close()
    plan = make_plan("test", nodes, world, wish)
    return Job(
        run=new_run_id(datetime.now()),
        project="test",
        spec_file=str(folder / "project.yaml"),
        spec_yaml="",
        project_dir=folder,
        output_root=folder / "outputs",
        seed=42,
        settings={"executor": {"max_parallel": 4}},
        nodes=tuple(nodes),
        plan=plan,
        replace=tuple(wish.replace) if wish else (),
    ).having_seen(world)


class Outcome:
    """What a run did: its plan, its events and its exit code."""

    def __init__(self, plan: Plan, events: list[Event], code: int) -> None:
        self.plan, self.events, self.code = plan, events, code

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def addresses(self, kind: type[Event]) -> list[str]:
        return [event.address for event in self.of(kind)]


def amend(folder: Path, going_on: Job, nodes: Sequence[Node]) -> Job:
    """Ask a run that goes on to go on with other nodes."""
    job = plan_job(folder, nodes)
    run_folder = ProjectPaths(folder, folder / "outputs").run(going_on.run)
    send(run_folder, Wanted(Ask.AMEND, job=job.save_amendment(run_folder)))
    return job


def apply(folder: Path, nodes: Sequence[Node], wish: Wish | None = None) -> Outcome:
    job = plan_job(folder, nodes, wish)
    events: list[Event] = []
    code = supervise(job, Supervision(listeners=[events.append]))
    return Outcome(job.plan, events, int(code))
