"""`specrun validate`: every mistake in a spec, with its place and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from specrun.cli.project import add_spec, find_spec, pairs
from specrun.errors import ExitCode, SpecError
from specrun.kinds.registry import REGISTRY
from specrun.model.diagnostic import Diagnostic
from specrun.spec.diagnostics import diagnostic_json, render_diagnostics, wants_color
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
    if arguments.json:
        _print_json(project, project.warnings)
        return ExitCode.DONE
    if project.warnings:
        color = wants_color(sys.stderr.isatty(), os.environ)
        sys.stderr.write(render_diagnostics(project.warnings, color=color))
    count = len(project.nodes)
    print(f"{project.name} is valid: {count} {'node' if count == 1 else 'nodes'}")
    return ExitCode.DONE


def _print_json(project: Project | None, found: Sequence[object]) -> None:
    data = {
        "format": 1,
        "valid": project is not None,
        "project": project.name if project else None,
        "nodes": [str(node.address) for node in project.nodes] if project else [],
        "diagnostics": [diagnostic_json(d) for d in found if isinstance(d, Diagnostic)],
    }
    print(json.dumps(data, indent=2, ensure_ascii=False))
