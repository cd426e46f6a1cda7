"""A CVAT double with a project and a task of images, and an account on it: for tests of what asks a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from specrun.clients.cvat import transfer
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.connection import Connection
from specrun.clients.cvat.session import Sessions
from specrun.clients.http import Retry
from tests.doubles.cvat.server import CvatDouble

QUICK = Retry(max_attempts=3, initial_delay_s=0.01, max_delay_s=0.05)


def connection_to(server: CvatDouble, **what: Any) -> Connection:
    usual = Connection(server.url, username=server.user, password=server.password, timeout_s=5.0)
    return replace(usual, **what)


def api_of(server: CvatDouble, *, check_stop: Callable[[], None] | None = None, **what: Any) -> Api:
    """Signed in apart from every other test."""
    return Api(connection_to(server, **what), retry=QUICK, sessions=Sessions(), check_stop=check_stop)


def make_images(folder: Path, count: int) -> list[Path]:
    """Small PNGs that differ from one another."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"reef_{number}.png" for number in range(count)]
    for number, file in enumerate(files):
        Image.new("RGB", (32 + number, 24), (number, 100, 200)).save(file)
    return files


def make_project(api: Api, name: str = "reef", labels: tuple[str, ...] = ("coral",)) -> int:
    wanted = [{"name": label, "type": "polygon", "attributes": []} for label in labels]
    return int(api.post("/api/projects", {"name": name, "labels": wanted})["id"])


def make_task(api: Api, project_id: int, files: list[Path], staging: Path, **extra: Any) -> int:
    task_id = int(api.post("/api/tasks", {"name": "first", "project_id": project_id})["id"])
    transfer.upload_images(api, task_id, files, [f.name for f in files], staging=staging, extra=extra)
    return task_id
