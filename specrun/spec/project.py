"""The compiled spec. Reading a kept one (compiled.py) imports neither pydantic nor a YAML parser."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specrun.model.diagnostic import Diagnostic
from specrun.model.node import Node

if TYPE_CHECKING:
    from specrun.spec.section import Registry


@dataclass(frozen=True)
class Project:
    """A spec without mistakes: values filled in, matrices expanded, references resolved.

    files: the spec and what it includes. settings: JSON with every default filled in.
    nodes: in an order in which they can run. resolved_yaml: the spec with its values filled in, for
        people; what came from the environment is shown as it was written.
    """

    name: str
    description: str
    seed: int
    project_dir: Path
    output_root: Path
    spec_file: Path
    files: tuple[Path, ...]
    settings: Mapping[str, Any]
    nodes: tuple[Node, ...]
    warnings: tuple[Diagnostic, ...]
    resolved_yaml: str


def load_project(
    path: Path,
    registry: Registry,
    *,
    variables: Mapping[str, str] | None = None,
    sets: Mapping[str, str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Project:
    """Reads and compiles a spec. variables and sets: of the command line, as text.

    Raises SpecError with every mistake.
    """
    from specrun.spec.build import build  # imports pydantic and ruamel, 150 ms that a kept plan does without

    return build(path, registry, variables=variables or {}, sets=sets or {}, environ=environ).project
