"""A run, frozen: what `apply` decided, handed to the supervisor as one file. No secrets in it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from specrun.model.address import Address, parse_address
from specrun.model.node import Node
from specrun.model.plan import Plan
from specrun.model.state import Observation, Unreachable
from specrun.planner.world import World

JOB_NAME = "job.json"
SPEC_MEMORY = "specrun"
"""Under this address the state remembers which spec it was written for."""
PLAN_NAME = "plan.json"
SPEC_NAME = "spec.yaml"


@dataclass(frozen=True, kw_only=True)
class Job:
    """nodes: all of the graph. observations: as planned. gone: outputs that are missing.
    made: address → when its record was made that was looked at; what was made since is newer than the observations.
    unreachable: address → why it could not be observed. approved: writing outside the machine was agreed to.
    poll_s: how often to look whether people have finished, before the run ends; None: it ends and says who is
        waited for. targets, exclude: what the command line chose, to plan alike during the run."""

    run: str
    project: str
    spec_file: str
    spec_yaml: str
    project_dir: Path
    output_root: Path
    seed: int
    settings: Mapping[str, Any]
    nodes: tuple[Node, ...]
    plan: Plan
    observations: Mapping[Address, Observation] = field(default_factory=dict)
    gone: Mapping[Address, str] = field(default_factory=dict)
    unreachable: Mapping[Address, Unreachable] = field(default_factory=dict)
    made: Mapping[Address, str] = field(default_factory=dict)
    replace: tuple[Address, ...] = ()
    approved: bool = False
    poll_s: float | None = None
    targets: tuple[Address, ...] | None = None
    exclude: tuple[Address, ...] = ()

    def save(self, folder: Path) -> Path:
        """Writes job.json, plan.json and spec.yaml; returns the path of the first."""
        folder.mkdir(parents=True, exist_ok=True)
        self.save_copies(folder)
        path = folder / JOB_NAME
        _replace(path, json.dumps(self._to_json(), ensure_ascii=False))
        return path

    def having_seen(self, world: World) -> Job:
        """With what the plan was made from."""
        return replace(
            self,
            observations=world.observations,
            gone=world.gone,
            unreachable=world.unreachable,
            made={address: record.made_at for address, record in world.records.items()},
        )

    def amending(self, before: Job, plan: Plan) -> Job:
        """This job as the rest of a run that has begun already: with its name, and the plan that came of both."""
        return replace(self, run=before.run, plan=plan, replace=(), poll_s=before.poll_s)

    def save_copies(self, folder: Path) -> None:
        """plan.json and spec.yaml, for people: what the run makes now."""
        _replace(folder / PLAN_NAME, json.dumps(self.plan.to_json(), ensure_ascii=False))
        _replace(folder / SPEC_NAME, self.spec_yaml)

    def save_amendment(self, folder: Path) -> str:
        """Writes the next job.<n>.json, whole before it is there; returns its name. Raises OSError."""
        staged = folder / f".amendment-{os.getpid()}-{secrets.token_hex(4)}.tmp"
        staged.write_text(json.dumps(self._to_json(), ensure_ascii=False))
        try:
            for number in count(2):
                name = f"job.{number}.json"
                with suppress(FileExistsError):
                    os.link(staged, folder / name)
                    return name
        finally:
            staged.unlink()
        raise AssertionError("count never ends")

    def _to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "project": self.project,
            "spec_file": self.spec_file,
            "spec_yaml": self.spec_yaml,
            "project_dir": str(self.project_dir),
            "output_root": str(self.output_root),
            "seed": self.seed,
            "settings": self.settings,
            "nodes": [n.to_json() for n in self.nodes],
            "plan": self.plan.to_json(),
            "observations": {str(a): _observation_to_json(o) for a, o in self.observations.items()},
            "gone": {str(a): text for a, text in self.gone.items()},
            "unreachable": {str(a): [u.cause, u.hint, u.exit_code] for a, u in self.unreachable.items()},
            "made": {str(a): when for a, when in self.made.items()},
            "replace": [str(a) for a in self.replace],
            "approved": self.approved,
            "poll_s": self.poll_s,
            "targets": None if self.targets is None else [str(a) for a in self.targets],
            "exclude": [str(a) for a in self.exclude],
        }

    @classmethod
    def load(cls, path: Path) -> Job:
        data = json.loads(path.read_text())
        return cls(
            **{
                **data,
                "project_dir": Path(data["project_dir"]),
                "output_root": Path(data["output_root"]),
                "nodes": tuple(Node.from_json(n) for n in data["nodes"]),
                "plan": Plan.from_json(data["plan"]),
                "observations": {parse_address(a): _observation_from_json(o) for a, o in data["observations"].items()},
                "gone": {parse_address(a): text for a, text in data["gone"].items()},
                "unreachable": {parse_address(a): Unreachable(*row) for a, row in data["unreachable"].items()},
                "made": {parse_address(a): when for a, when in data["made"].items()},
                "replace": _addresses(data["replace"]),
                "targets": None if data["targets"] is None else _addresses(data["targets"]),
                "exclude": _addresses(data["exclude"]),
            }
        )


def _addresses(texts: Iterable[str]) -> tuple[Address, ...]:
    return tuple(map(parse_address, texts))


def _replace(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    staged.write_text(text)
    os.replace(staged, path)


def _observation_to_json(observed: Observation) -> dict[str, Any]:
    """Without the readable differences: they are in the plan."""
    return {"value": observed.value, "parts": observed.parts, "missing": list(observed.missing)}


def _observation_from_json(data: Mapping[str, Any]) -> Observation:
    return Observation(value=data["value"], parts=data["parts"], missing=tuple(data["missing"]))
