"""`specrun cvat projects|tasks|labels CONNECTION`: what there is on a CVAT server."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from specrun.errors import UsageError

if TYPE_CHECKING:
    from specrun.clients.cvat.api import Api
    from specrun.clients.cvat.connection import Connection
    from specrun.clients.cvat.things import LabelDef, Project, Task

TOKEN, USER, PASSWORD = "CVAT_ACCESS_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["projects", "tasks", "labels"], help="what to list")
    parser.add_argument("connection", nargs="?", help="a connection of the spec; without it, its only one")
    parser.add_argument("--project", help="name or id: only its tasks; for labels it is needed")
    parser.add_argument(
        "--url",
        help=f"instead of a spec: the server's address, with {TOKEN}, or {USER} and {PASSWORD}, in the environment",
    )
    parser.add_argument("--organization", help='with --url: a short name, or "" for the personal space')
    parser.add_argument("--json", action="store_true", help="as JSON")
    # Not cli.state.add_project: importing it costs 40 ms that `--help` does not pay.
    parser.add_argument("--spec", help="the project spec (default: project.yaml here)")
    parser.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="set a variable of the spec")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="set a field of the spec")


def run(arguments: argparse.Namespace) -> int:
    if arguments.what == "labels" and not arguments.project:
        raise UsageError("specrun cvat labels: say of which project", hint="Add --project NAME.")
    # Only who asks a server pays for the client.
    from specrun.clients.cvat.api import Api

    with Api(_connection(arguments)) as api:
        found, table = _listed(api, arguments.what, arguments.project)
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(table_text(*table))
    return 0


def _connection(arguments: argparse.Namespace) -> Connection:
    """Raises UsageError: neither a spec nor --url says which; CredentialsError."""
    if arguments.url:
        return connection_by_url(arguments.url, arguments.organization)
    # Loads the whole spec.
    from specrun.cli.connections import load_servers

    servers = load_servers(arguments)
    if arguments.connection:
        return servers.connection(arguments.connection)
    if len(servers.declared) != 1:
        names = ", ".join(servers.declared) or "none"
        raise UsageError("specrun cvat: say which connection", hint=f"The spec has: {names}.")
    return servers.connection(next(iter(servers.declared)))


def connection_by_url(url: str, organization: str | None) -> Connection:
    """With the account of the environment. Raises UsageError: there is none."""
    from specrun.clients.cvat.connection import Connection

    environ = os.environ
    if not (environ.get(TOKEN) or (environ.get(USER) and environ.get(PASSWORD))):
        raise UsageError(f"{url} needs {TOKEN}, or {USER} and {PASSWORD}, in the environment")
    token = environ.get(TOKEN) or None
    return Connection(
        url=url.rstrip("/"),
        organization=organization,
        token=token,
        username=None if token else environ.get(USER),
        password=None if token else environ.get(PASSWORD),
    )


def _listed(api: Api, what: str, project: str | None) -> tuple[list[dict[str, Any]], Table]:
    """What was found as JSON, and the same as a table."""
    from specrun.clients.cvat import catalogue

    if what == "projects":
        projects = catalogue.projects_of(api)
        return [asdict(one) for one in projects], _projects(projects)
    wanted = catalogue.find_project(api, project) if project else None
    if what == "tasks":
        tasks = catalogue.tasks_of(api, wanted.id if wanted else None)
        return [asdict(one) for one in tasks], _tasks(tasks)
    assert wanted is not None
    labels = catalogue.labels_of(api, project_id=wanted.id)
    return [asdict(one) for one in labels], _labels(labels)


def _projects(projects: Sequence[Project]) -> Table:
    head = ("id", "name", "status", "tasks", "subsets", "owner", "changed")
    return head, [
        (str(p.id), p.name, p.status, str(p.task_count), " ".join(p.subsets), p.owner or "", p.updated[:16])
        for p in projects
    ]


def _tasks(tasks: Sequence[Task]) -> Table:
    head = ("id", "name", "project", "subset", "status", "images", "jobs", "assignee", "changed")
    return head, [
        (
            *(str(t.id), t.name, t.project_name, t.subset, t.status, str(t.size)),
            *(f"{t.jobs_completed}/{t.job_count}", t.assignee or "", t.updated[:16]),
        )
        for t in tasks
    ]


def _labels(labels: Sequence[LabelDef]) -> Table:
    head = ("id", "name", "type", "color", "attributes", "points")
    return head, [(str(d.id), d.name, d.type, d.color, _attributes(d), str(len(d.sublabels) or "")) for d in labels]


def _attributes(label: LabelDef) -> str:
    return ", ".join(f"{a.name} ({a.input_type})" for a in label.attributes)


def table_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as what stands in them; what a server wrote cannot steer the terminal."""
    from specrun.views.text import cells, clean, pad

    lines = [list(head), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(cells(line[column]) for line in lines) for column in range(len(head))]
    text = ["  ".join(pad(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join(text) + "\n" + ("" if rows else "nothing\n")
