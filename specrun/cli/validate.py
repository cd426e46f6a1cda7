"""`specrun validate`: every mistake in a spec, with its place and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from specrun.cli.project import add_spec, find_spec, pairs
from specrun.errors import ExitCode, SpecError
from specrun.kinds.registry import REGISTRY
from specrun.model.diagnostic import Diagnostic, Severity
from specrun.spec.diagnostics import diagnostic_json, render_diagnostics, wants_color
from specrun.spec.environment import with_env_files
from specrun.spec.project import Project, load_project


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    parser.add_argument("--json", action="store_true", help="print the mistakes as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Without --json, a wrong spec is raised as the SpecError that every command raises."""
    path = find_spec(arguments.spec)
    variables, sets = pairs(arguments.var, "var"), pairs(arguments.set, "set")
    try:
        project = load_project(path, REGISTRY, variables=variables, sets=sets)
    except SpecError as error:
        if not arguments.json:
            raise
        _print_json(None, error.diagnostics)
        return error.exit_code
    warnings = (*project.warnings, *_unset(project))
    if arguments.json:
        _print_json(project, warnings)
        return ExitCode.DONE
    if warnings:
        color = wants_color(sys.stderr.isatty(), os.environ)
        sys.stderr.write(render_diagnostics(warnings, color=color))
    count = len(project.nodes)
    print(f"{project.name} is valid: {count} {'node' if count == 1 else 'nodes'}")
    return ExitCode.DONE


def _unset(project: Project) -> Iterator[Diagnostic]:
    """Secrets of connections that are variables of the environment and not set here: they may be where it is run."""
    environ = with_env_files(project.project_dir, os.environ)
    connections = {
        address: resolved
        for node in project.nodes
        for address, resolved in node.declarations.items()
        if address.startswith("connections.") and isinstance(resolved, Mapping)
    }
    for address, resolved in connections.items():
        for field, value in resolved.items():
            name = value.get("env") if isinstance(value, Mapping) else None
            if isinstance(name, str) and not environ.get(name):
                message = f"{address}.{field}: the environment variable {name} is not set."
                hint = "Set it, or put it into .env beside the spec."
                yield Diagnostic(None, message, hint, Severity.WARNING)


def _print_json(project: Project | None, found: Sequence[object]) -> None:
    data = {
        "format": 1,
        "valid": project is not None,
        "project": project.name if project else None,
        "nodes": [str(node.address) for node in project.nodes] if project else [],
        "diagnostics": [diagnostic_json(d) for d in found if isinstance(d, Diagnostic)],
    }
    print(json.dumps(data, indent=2, ensure_ascii=False))
