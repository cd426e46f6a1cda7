"""`specrun app`: the FiftyOne App on the project's database."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from specrun.cli.state import add_project, load_project_of
from specrun.errors import UsageError
from specrun.spec.project import Project

if TYPE_CHECKING:
    from specrun.clients.fiftyone import Database

DEFAULT_PORT = 5151


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", nargs="?", help="a dataset of the spec, or its name in FiftyOne")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="where the App is served (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="only serve it and print the address")
    add_project(parser)


def run(arguments: argparse.Namespace) -> int:
    """Blocks until Ctrl-C."""
    project = load_project_of(arguments)
    # The client loads pymongo, which other commands do without.
    from specrun.clients.fiftyone import open_database
    from specrun.spec.environment import with_env_files
    from specrun.spec.secrets import resolve_secret

    def secret(reference: Any) -> str:
        return resolve_secret(reference, with_env_files(project.project_dir, os.environ), project.project_dir)

    state_dir = project.project_dir / ".specrun"
    signal.signal(signal.SIGTERM, _interrupt)
    with open_database(project.settings, state_dir, project_dir=project.project_dir, secret=secret) as database:
        name = _wanted(arguments.dataset, project, database)
        sys.stderr.write("Starting the FiftyOne App …\n")
        _serve(database, name, arguments.port, browser=not arguments.no_browser)
    return 0


def _serve(database: Database, name: str | None, port: int, *, browser: bool) -> None:
    """Raises UsageError: the port is taken. FiftyOne would show whatever another App serves there."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UsageError(f"port {port} is in use, perhaps by another App", hint=f"Try --port {port + 1}.")
    fiftyone = database.fiftyone
    logging.getLogger("fiftyone").setLevel(logging.WARNING)  # its greeting fills a screen
    dataset = database.dataset(name) if name else None
    session = fiftyone.launch_app(dataset, port=port, address="127.0.0.1", remote=not browser)
    sys.stdout.write(f"The FiftyOne App is at http://127.0.0.1:{port}/ (Ctrl-C ends it)\n")
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
    finally:
        session.close()


def _wanted(asked: str | None, project: Project, database: Database) -> str | None:
    """The name in FiftyOne; the only dataset when none is asked for. Raises UsageError: there is none of that name."""
    names = database.names()
    if asked is None:
        return names[0] if len(names) == 1 else None
    for node in project.nodes:
        if node.address.section == "datasets" and asked in (node.address.name, str(node.address)):
            asked = str(node.config.get("name") or f"{project.project_dir.name}.{node.address.name}")
            break
    if asked not in names:
        known = ", ".join(names) or "none yet; run `specrun apply` first"
        raise UsageError(f"{asked}: there is no such dataset in FiftyOne", hint=f"There are: {known}.")
    return asked


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
