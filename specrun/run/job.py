"""A run, frozen: what `apply` decided, handed to the supervisor as one file. No secrets in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specrun.model.address import Address, parse_address
from specrun.model.node import Node
from specrun.model.plan import Plan
from specrun.model.state import Observation, Unreachable

JOB_NAME = "job.json"
SPEC_MEMORY = "specrun"
"""Under this address the state remembers which spec it was written for."""
PLAN_NAME = "plan.json"
SPEC_NAME = "spec.yaml"


@dataclass(frozen=True, kw_only=True)
class Job:
    """nodes: all of the graph. observations: as planned. gone: outputs that are missing.
    unreachable: address → why it could not be observed. approved: writing outside the machine was agreed to."""

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
    replace: tuple[Address, ...] = ()
    approved: bool = False

    def save(self, folder: Path) -> Path:
        """Writes job.json, plan.json and spec.yaml; returns the path of the first."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLAN_NAME).write_text(json.dumps(self.plan.to_json(), ensure_ascii=False))
        (folder / SPEC_NAME).write_text(self.spec_yaml)
        path = folder / JOB_NAME
        staged = path.with_suffix(".tmp")
        staged.write_text(json.dumps(self._to_json(), ensure_ascii=False))
        os.replace(staged, path)
        return path

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
            "replace": [str(a) for a in self.replace],
            "approved": self.approved,
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
                "replace": tuple(parse_address(a) for a in data["replace"]),
            }
        )


def _observation_to_json(observed: Observation) -> dict[str, Any]:
    """Without the readable differences: they are in the plan."""
    return {"value": observed.value, "parts": observed.parts, "missing": list(observed.missing)}


def _observation_from_json(data: Mapping[str, Any]) -> Observation:
    return Observation(value=data["value"], parts=data["parts"], missing=tuple(data["missing"]))
