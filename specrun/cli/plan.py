"""`specrun plan`: what is out of date and why."""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from specrun.cli.github import as_text
from specrun.cli.ongoing import ongoing_run, with_what_runs
from specrun.cli.project import Planned, add_choice, add_spec, graph_of, load, plan_project
from specrun.errors import ExitCode, UsageError
from specrun.views.plan_text import plan_json, plan_text
from specrun.views.text import clean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    add_choice(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="every node, and the exact old and new values")
    parser.add_argument("--json", action="store_true", help="the plan as JSON")
    parser.add_argument("--out", metavar="FILE", help="save the plan for `specrun apply FILE`")
    parser.add_argument(
        "--detailed-exitcode", action="store_true", help="0: nothing to do, 10: changes; errors keep their code"
    )


def run(arguments: argparse.Namespace) -> int:
    # Everything lives until the end: looking for garbage costs a tenth of a large plan and finds none.
    gc.disable()
    planned = plan_project(load(arguments), arguments)
    ongoing = ongoing_run(planned.paths)
    now = replace(planned, plan=with_what_runs(planned.plan, ongoing))
    if arguments.json:
        running = ongoing.record.id if ongoing and ongoing.record else None
        sys.stdout.write(json.dumps({**plan_json(now.plan), "run": running}, indent=2, ensure_ascii=False) + "\n")
    else:
        show(now, verbose=arguments.verbose)
        if ongoing:
            sys.stdout.write(as_text(f"{clean(ongoing.text())}\n"))
    if arguments.out:
        save(planned, arguments, Path(arguments.out))
    if any(why.exit_code == ExitCode.CREDENTIALS for why in planned.world.unreachable.values()):
        return ExitCode.CREDENTIALS
    if arguments.detailed_exitcode and planned.plan.has_changes:
        return ExitCode.CHANGES
    return ExitCode.DONE


def show(planned: Planned, *, verbose: bool) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.write(as_text(plan_text(planned.plan, verbose=verbose, color=color, width=width)) + "\n")


def save(planned: Planned, arguments: argparse.Namespace, path: Path) -> None:
    """The plan with the command line that made it: `apply FILE` makes it again and compares.

    Raises UsageError: the name would be taken for a spec.
    """
    if path.suffix in (".yaml", ".yml"):
        raise UsageError(f"--out {path}: {path.suffix} is for specs", hint="Name it plan.json, for example.")
    asked = {name: getattr(arguments, name) for name in ("var", "set", "target", "replace", "exclude")}
    content = {
        "specrun_plan": 1,
        "spec": os.fspath(planned.project.spec_file.resolve()),
        "asked": asked,
        "plan": planned.plan.to_json(),
        "graph": graph_of(planned),
    }
    staged = path.with_name(path.name + ".partial")
    staged.write_text(json.dumps(content, ensure_ascii=False))
    os.replace(staged, path)
    sys.stderr.write(f"saved; carry it out with: specrun apply {path}\n")
