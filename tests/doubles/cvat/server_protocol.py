"""What the resources need of the server: they do not import it, it imports them."""

from __future__ import annotations

import threading
from typing import Protocol

from tests.doubles.cvat.state import State
from tests.doubles.cvat.worker import Worker


class Server(Protocol):
    state: State
    worker: Worker
    version: str
    ranges: bool
    stopping: threading.Event
    webhook_calls: list[threading.Thread]

    @property
    def url(self) -> str: ...
