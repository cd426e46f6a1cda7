"""A server that takes connections and never says a word, as one does that was stopped by a signal."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

SPEC = """\
specrun: 1
project: {{name: demo}}
connections:
  lab: {{kind: cvat, url: "{url}", access_token: {{env: CVAT_TOKEN}}}}
sources:
  done: {{kind: cvat, connection: lab, project: reef}}
"""


@contextmanager
def deaf_server() -> Iterator[str]:
    """Its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
