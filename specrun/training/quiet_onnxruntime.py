"""ONNX Runtime without its telemetry, for everything that compares an exported model with the original."""

from __future__ import annotations

import os
import tempfile
from types import ModuleType


def load_onnxruntime() -> ModuleType:
    """The library, with nothing left in the home folder. Before anything else imports it.

    Its import leaves an identity of the machine and a database of events in the user's cache
    (`Microsoft/DeveloperTools/.onnxruntime`), and its sessions report to it. Newer releases can be told so by a
    variable, others only afterwards; for those that write at once, the cache is a temporary folder.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            # Heavy, and reads the environment.
            import onnxruntime
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    module: ModuleType = onnxruntime
    return module
