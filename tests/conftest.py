"""No test sees the real home, the real network or the user's own FiftyOne database."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Before torch is imported: on a busy machine, threads that wait for each other make small trainings fifty times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The gate must say the same every time: examples by seed, and no time limit on a busy machine.
hypothesis.settings.register_profile("gate", derandomize=True, deadline=None)
hypothesis.settings.load_profile("gate")

_HOME = tempfile.TemporaryDirectory(prefix="specrun-home-")
_INHERITED = (
    *("FIFTYONE_DATABASE_URI", "FIFTYONE_DATABASE_DIR", "FIFTYONE_DATABASE_NAME", "FIFTYONE_CONFIG_PATH"),
    *("NO_COLOR", "FORCE_COLOR", "COLORFGBG", "COLUMNS", "LINES", "TEXTUAL_THEME", "TMUX", "SSH_CONNECTION"),
    *("CI", "GITHUB_ACTIONS", "PAGER", "EDITOR", "VISUAL"),
    *("SPECRUN_SETTINGS", "SPECRUN_STATE_DIR", "SPECRUN_RESUME", "RANK", "LOCAL_RANK", "WORLD_SIZE"),
    *("HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "REPLICATE_API_TOKEN", "MLFLOW_TRACKING_URI", "WANDB_API_KEY"),
    *("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
)


def pytest_xdist_auto_num_workers() -> int:
    """Of `-n auto`: a process a core, and no more than four, since each may load torch and start a database."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def isolated_machine() -> Iterator[None]:
    """Set in the environment, so that child processes are isolated too."""
    home = Path(_HOME.name)
    before = dict(os.environ)
    for name in _INHERITED:
        os.environ.pop(name, None)
    os.environ.update(
        HOME=str(home),
        XDG_CONFIG_HOME=str(home / "config"),
        XDG_CACHE_HOME=str(home / "cache"),
        XDG_DATA_HOME=str(home / "data"),
        FIFTYONE_DO_NOT_TRACK="true",
        YOLO_OFFLINE="1",
        HF_HUB_OFFLINE="1",
    )
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    real = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])  # type: ignore[index]
            if host not in ("localhost", "::1") and not host.startswith("127."):
                raise OSError(f"a test tried to reach {host}: tests stay on loopback")
        return real(self, address)  # type: ignore[arg-type]

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    yield
    socket.socket.connect = real  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def unpatched_pillow() -> Iterator[None]:
    """Ultralytics replaces PIL.Image.open when it is imported; what specrun reads must not depend on that."""
    from PIL import Image

    real = Image.open
    yield
    Image.open = real
