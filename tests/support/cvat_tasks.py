"""Projects and tasks in the CVAT double, made quickly: by its API, but with images put in place."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from specrun.clients.cvat.api import Api
from specrun.clients.cvat.connection import Connection
from tests.doubles.cvat.pictures import compressed, served_original, upright_size
from tests.doubles.cvat.server import CvatDouble
from tests.doubles.cvat.state import Frame, Media

LABELS: Sequence[Mapping[str, Any]] = (
    {"name": "coral", "type": "any", "attributes": []},
    {"name": "fish", "type": "any", "attributes": []},
)


def connection_to(server: CvatDouble) -> Connection:
    return Connection(url=server.url, username=server.user, password=server.password)


def picture(size_wh: tuple[int, int], shade: int = 0, *, orientation: int = 1) -> bytes:
    """A JPEG whose bytes depend on `shade`."""
    image = Image.new("RGB", size_wh, (shade % 256, (shade * 7) % 256, 90))
    exif = Image.Exif()
    if orientation != 1:
        exif[274] = orientation
    file = io.BytesIO()
    image.save(file, format="JPEG", exif=exif)
    return file.getvalue()


def add_project(server: CvatDouble, name: str = "reef", labels: Sequence[Mapping[str, Any]] = LABELS) -> int:
    with Api(connection_to(server)) as api:
        return int(api.post("/api/projects", {"name": name, "labels": list(labels)})["id"])


def add_task(
    server: CvatDouble,
    project: int,
    name: str,
    images: Mapping[str, bytes] | int = 2,
    *,
    subset: str = "train",
    segment_size: int = 0,
    chunk_size: int = 72,
) -> int:
    """images: content by the server's name, or how many of 16x12 pixels. The order is the mapping's."""
    if isinstance(images, int):
        images = {f"img_{number:03d}.jpg": picture((16, 12), 10 * number + len(name)) for number in range(images)}
    with Api(connection_to(server)) as api:
        sent = {"name": name, "project_id": project, "subset": subset, "segment_size": segment_size}
        task_id = int(api.post("/api/tasks", sent)["id"])
    frames = [
        Frame(called, *upright_size(content), served_original(content), compressed(content, 70))
        for called, content in images.items()
    ]
    state = server.state
    with state.lock:
        task = state.tasks[task_id]
        task.media = Media(
            state.next_id("data"), frames, chunk_size=chunk_size, stop_frame=len(frames) - 1,
            chunks_updated_date=state.now(),
        )  # fmt: skip
        state.make_jobs(task)
    return task_id
