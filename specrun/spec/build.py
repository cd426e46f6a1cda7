"""From files to a Project: load, include, override, interpolate, validate, link, compile.

Every stage reports its mistakes and goes on with what is left, so that all are shown in one go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from specrun.model.diagnostic import Position, Severity
from specrun.spec.compiling import Compiler
from specrun.spec.compose import Composition, as_defaults, check_top_level, compose
from specrun.spec.environment import Environment, with_env_files
from specrun.spec.includes import load_with_includes
from specrun.spec.interpolation import Scope
from specrun.spec.kind import Registry
from specrun.spec.linking import link
from specrun.spec.overrides import with_sets, with_variables
from specrun.spec.project import Project
from specrun.spec.report import Report
from specrun.spec.settings import ProjectSpec, Settings
from specrun.spec.tree import Entry, Items, Scalar, Table, Tree
from specrun.spec.validation import validated

Model = TypeVar("Model", bound=BaseModel)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_SPECIAL_WORDS = frozenset({"null", "true", "false"})


@dataclass(frozen=True)
class Built:
    """environment: variables that the spec asked for. composition: the models, for `schema` and tests."""

    project: Project
    composition: Composition
    environment: Mapping[str, str | None]


def build(
    path: Path,
    registry: Registry,
    *,
    variables: Mapping[str, str],
    sets: Mapping[str, str],
    environ: Mapping[str, str],
) -> Built:
    """Raises SpecError with every mistake."""
    report = Report()
    tree, files = load_with_includes(path, report)
    if tree is None:
        report.raise_errors()
        raise AssertionError("a spec without a tree has a mistake")
    check_top_level(tree, registry, report)
    tree = with_variables(tree, variables, report)
    known = ["project", "vars", "settings", *registry]
    tree = with_sets(tree, sets, known, ["vars", *registry], report)
    environment = Environment(with_env_files(path.parent, environ, report))
    scope = Scope(
        variables=_table(tree, "vars"),
        project=as_defaults(_table(tree, "project"), {"description": "", "seed": 42, "output_root": "outputs"}),
        environment=environment,
        report=report,
    )
    scope.resolved(_table(tree, "vars"))
    project = _section(tree, "project", ProjectSpec, scope, report)
    settings = _section(tree, "settings", Settings, scope, report)
    project_dir = path.resolve().parent
    composition = compose(tree, registry, scope, report, project_dir)
    links = link(composition, report)
    report.raise_errors()
    assert project is not None
    assert settings is not None
    seed_entry = _table(tree, "project").entries.get("seed")
    compiler = Compiler(composition, links, seed=project.seed, seed_place=seed_entry.where if seed_entry else None)
    built = Project(
        name=project.name,
        description=project.description,
        seed=project.seed,
        project_dir=project_dir,
        output_root=project_dir / project.output_root,
        spec_file=path.resolve(),
        files=files,
        settings=settings.model_dump(mode="json", by_alias=True),
        nodes=compiler.nodes(),
        warnings=report.diagnostics(Severity.WARNING),
        resolved_yaml=_resolved_yaml(tree, composition, scope),
    )
    return Built(built, composition, dict(environment.used))


def _table(tree: Table, key: str) -> Table:
    """A section, or an empty one where it is missing or was reported."""
    found = tree.get(key)
    return found if isinstance(found, Table) else Table({}, tree.where)


def _section(tree: Table, key: str, model: type[Model], scope: Scope, report: Report) -> Model | None:
    entry = tree.entries.get(key)
    if entry is not None and not isinstance(entry.value, Table) and not _is_null(entry.value):
        return None
    if entry is None and key == "project":
        return None
    table = scope.resolved(_table(tree, key))
    assert isinstance(table, Table)
    return validated(model, table, key, entry.where if entry else tree.where, report)


def _is_null(tree: Tree) -> bool:
    return isinstance(tree, Scalar) and tree.value is None


def _resolved_yaml(tree: Table, composition: Composition, scope: Scope) -> str:
    """The spec as it was understood; instances of a matrix stand one by one."""
    sections: dict[str, dict[str, Tree]] = {}
    for address, declared in composition.entries.items():
        name = str(address).partition(".")[2]
        shown = declared.tree
        if declared.section.has_kind_key:
            kind = Entry("kind", declared.where, Scalar(declared.kind_name, declared.where))
            shown = replace(shown, entries={"kind": kind, **shown.entries})
        sections.setdefault(address.section, {})[name] = shown
    lines = ["specrun: 1"]
    for key in ("project", "vars", "settings"):
        if key in tree.entries:
            lines += _yaml_lines(key, scope.resolved(_table(tree, key)), 0)
    for section, entries in sections.items():
        where = Position(section, 0)
        table = Table({name: Entry(name, where, value) for name, value in entries.items()}, where)
        lines += _yaml_lines(section, table, 0)
    return "\n".join(lines) + "\n"


def _yaml_lines(key: str, tree: Tree, indent: int) -> list[str]:
    start = f"{'  ' * indent}{_yaml_text(key)}:"
    if isinstance(tree, Table) and tree.entries:
        below = [line for e in tree.entries.values() for line in _yaml_lines(e.key, e.value, indent + 1)]
        return [start, *below]
    return [f"{start} {_flow(tree)}"]


def _flow(tree: Tree) -> str:
    if isinstance(tree, Table):
        return "{" + ", ".join(f"{_yaml_text(e.key)}: {_flow(e.value)}" for e in tree.entries.values()) + "}"
    if isinstance(tree, Items):
        return "[" + ", ".join(_flow(item) for item in tree.items) + "]"
    value = tree.written if tree.outside else tree.value
    return _yaml_text(value) if isinstance(value, str) else json.dumps(value)


def _yaml_text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _SPECIAL_WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
