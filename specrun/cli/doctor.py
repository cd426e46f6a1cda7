"""`specrun doctor`: whether everything that a project needs is there: servers, rights, labels, programs, space."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable

from specrun.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # Not cli.project.add_spec: importing it costs 40 ms that `--help` does not pay.
    parser.add_argument("spec", nargs="?", help="the project spec (default: project.yaml here)")
    parser.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="set a variable of the spec")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="set a field of the spec")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """0 with warnings too; 5 when credentials are all that is wrong, 1 otherwise."""
    # Only this command pays for what it looks at.
    from specrun.cli.connections import load_servers
    from specrun.cli.doctor_cvat import cvat_findings
    from specrun.cli.doctor_machine import machine_findings
    from specrun.cli.findings import Finding, Verdict, findings_text

    servers = load_servers(arguments)
    found: list[Finding] = []
    for part in (cvat_findings(servers), machine_findings(servers.project)):
        found += part
    if arguments.json:
        sys.stdout.write(json.dumps({"format": 1, "findings": [f.to_json() for f in found]}, indent=2) + "\n")
    else:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        sys.stdout.write(findings_text(found, color=color))
    return _exit_code(f.exit_code for f in found if f.verdict is Verdict.WRONG)


def _exit_code(codes: Iterable[int]) -> int:
    wrong = set(codes)
    if not wrong:
        return ExitCode.DONE
    return ExitCode.CREDENTIALS if wrong == {int(ExitCode.CREDENTIALS)} else ExitCode.NODE_FAILED
