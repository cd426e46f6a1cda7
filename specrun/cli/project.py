"""What most commands share: the spec on the command line, loaded, and looked at against the world."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specrun.cli.github import as_text
from specrun.errors import UsageError
from specrun.graph import with_needs
from specrun.kinds.registry import REGISTRY
from specrun.model.address import Address, parse_address
from specrun.model.plan import Plan
from specrun.planner.compile import Wish, make_plan
from specrun.planner.world import World
from specrun.run.estimates import estimate_of
from specrun.run.job import SPEC_MEMORY
from specrun.run.patience import Patience
from specrun.run.refresh import Known, LookedAt, look_around
from specrun.spec.compiled import load_compiled
from specrun.spec.project import Project
from specrun.store.paths import ProjectPaths
from specrun.store.state import State
from specrun.views.text import clean

_TRACKED = ("models.smp", "models.ultralytics")
"""Kinds that report to the trackers of `settings.tracking`."""
SPEC_NAMES = ("project.yaml", "project.yml", "specrun.yaml", "specrun.yml")


def add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", nargs="?", help=f"the project spec (default: {SPEC_NAMES[0]} here)")
    add_values(parser)


def add_values(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="set a variable of the spec")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="set a field: models.unet.train.epochs=5"
    )


def add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", action="append", default=[], metavar="ADDRESS", help="only it and what it needs")
    parser.add_argument("--replace", action="append", default=[], metavar="ADDRESS", help="make it anew")
    parser.add_argument("--exclude", action="append", default=[], metavar="ADDRESS", help="leave it as it is")


def find_spec(given: str | None) -> Path:
    """Raises UsageError: there is none."""
    if given is not None:
        path = Path(given)
        if path.is_dir():
            return find_spec_in(path)
        if not path.exists():
            raise UsageError(f"{given}: there is no such file", hint="Give the path of a project spec.")
        return path
    return find_spec_in(Path())


def find_spec_in(folder: Path) -> Path:
    for name in SPEC_NAMES:
        if (folder / name).is_file():
            return folder / name
    where = "here" if folder == Path() else f"in {folder}"
    raise UsageError(
        f"no project spec {where} (looked for {', '.join(SPEC_NAMES)})",
        hint="Give its path, or write one with `specrun init`.",
    )


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """`name=value` words; raises UsageError."""
    found: dict[str, str] = {}
    for word in given:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise UsageError(f"--{option} {word}: write --{option} NAME=VALUE")
        found[name] = value
    return found


def load(arguments: argparse.Namespace) -> Project:
    """Raises SpecError; warnings go to standard error."""
    path = find_spec(arguments.spec)
    project = load_compiled(
        path,
        REGISTRY,
        variables=pairs(arguments.var, "var"),
        sets=pairs(arguments.set, "set"),
        environ=os.environ,
        cache_dir=path.resolve().parent / ".specrun" / "cache",
    )
    refuse_unserved(project)
    for warning in project.warnings:
        sys.stderr.write(f"{warning}\n")
    return project


def refuse_unserved(project: Project) -> None:
    """Settings that the grammar has and this version does not carry out: said, never passed over.

    Raises UsageError.
    """
    if project.settings.get("executor", {}).get("backend") == "ray":
        raise UsageError(
            "settings.executor.backend: this version runs workers on this machine only", hint="Write backend: local."
        )
    for name in ("wandb", "mlflow"):
        if project.settings.get("tracking", {}).get(name) is not None:
            _require_tracker(project, name)


def _require_tracker(project: Project, name: str) -> None:
    """Raises UsageError: no node of the project reports there, or the package is not installed."""
    if not any(node.kind in _TRACKED for node in project.nodes):
        kinds = " and ".join(_TRACKED)
        raise UsageError(
            f"settings.tracking.{name}: nothing in this project reports there; {kinds} would.",
            hint=f"Write {name}: null.",
        )
    if importlib.util.find_spec(name) is None:
        raise UsageError(
            f"settings.tracking.{name}: the package {name} is not installed.",
            hint=f"Install the extra: pip install 'specrun[{name}]', or write {name}: null.",
        )


@dataclass(frozen=True)
class Planned:
    """A project, what the world says of it, and the plan that follows."""

    project: Project
    paths: ProjectPaths
    world: World
    plan: Plan
    wish: Wish


def paths_of(project: Project) -> ProjectPaths:
    return ProjectPaths(project.project_dir, project.output_root)


def plan_project(
    project: Project,
    arguments: argparse.Namespace,
    *,
    looked_at: LookedAt | None = None,
    known: Known | None = None,
    patience: Patience | None = None,
) -> Planned:
    """Observe and plan; writes caches at most. looked_at: is told which files and folders the plan depends on.
    known: what need not be observed again. patience: with what does not answer; None: standard error says it."""
    paths = paths_of(project)
    wish = wish_of(project, arguments)
    state = State.open(paths.state_db, read_only=True) if paths.state_db.exists() else None
    try:
        wanted = [n for n in project.nodes if wish.targets is None or n.address in wish.targets]
        world = look_around(
            wanted,
            paths,
            state,
            project.settings,
            REGISTRY,
            looked_at=looked_at,
            known=known,
            patience=patience or Patience(say=on_stderr),
        )
        digest = state.digest() if state else ""
        if state:
            check_folder(project, state)
    finally:
        if state:
            state.close()
    plan = make_plan(project.name, project.nodes, world, wish, estimate=estimate_of(REGISTRY), state=digest)
    return Planned(project, paths, world, plan, wish)


def on_stderr(text: str) -> None:
    # What a spec names may hold anything.
    sys.stderr.write(as_text(f"{clean(text)}\n"))
    sys.stderr.flush()


def check_folder(project: Project, state: State) -> None:
    """One project a folder: two specs would take each other's nodes for orphans.

    Raises UsageError: the state was written for another spec that still lies here.
    """
    name = state.recall(SPEC_MEMORY, "spec_file")
    if isinstance(name, str) and name != project.spec_file.name and (project.project_dir / name).is_file():
        raise UsageError(
            f"what was made in {project.project_dir} belongs to {name}, not to {project.spec_file.name}",
            hint="Put each spec into a folder of its own.",
        )


def graph_of(planned: Planned) -> list[dict[str, Any]]:
    """The planned nodes as JSON, without where they stand in the spec."""
    addresses = {node.address for node in planned.plan.nodes}
    nodes = [node.to_json() for node in planned.project.nodes if node.address in addresses]
    return [{key: value for key, value in node.items() if key != "marks"} for node in nodes]


def wish_of(project: Project, arguments: argparse.Namespace) -> Wish:
    """Raises UsageError: an address that names nothing."""
    known = {node.address: node.needs for node in project.nodes}
    targets = expand(arguments.target, known, "target")
    replace = expand(arguments.replace, known, "replace")
    return Wish(
        targets=set(with_needs(known, [*targets, *replace])) if targets else None,
        replace=tuple(replace),
        exclude=tuple(expand(arguments.exclude, known, "exclude")),
    )


def expand(given: Sequence[str], known: Iterable[Address], option: str) -> list[Address]:
    """Addresses, sections (`models`) and matrices (`models.unet`: all its instances)."""
    found: list[Address] = []
    for word in given:
        matching = [a for a in known if word in (str(a), str(a.base), a.section)]
        if not matching:
            raise unknown_address(word, known, f"--{option} ")
        found += matching
    return list(dict.fromkeys(found))


def unknown_address(word: str, known: Iterable[Address], before: str = "") -> UsageError:
    # Only a mistake pays for it.
    import difflib

    names = [str(address) for address in known]
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names[:12]) or 'none'}."
    return UsageError(f"{before}{word}: there is no such node", hint=hint)


def one_address(word: str, known: Iterable[Address]) -> Address:
    """Raises UsageError: not exactly one node."""
    addresses = list(known)
    matching = [a for a in addresses if word in (str(a), str(a.base))]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UsageError(f"{word} is a matrix", hint=f"Name one instance: {', '.join(map(str, matching[:6]))}.")
    try:
        parse_address(word)
    except ValueError as error:
        raise UsageError(str(error)) from None
    raise unknown_address(word, addresses)
