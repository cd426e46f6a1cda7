"""A worker that is killed between the submission of a remote job and the note of its id.

argv: folder, kind of backend, url. Its memory is a JSON file, durable as the real one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from specrun.kinds.lora_jobs.remote import comfyui, memory, replicate
from tests.support import remote_lora


class FileMemory:
    def __init__(self, path: Path) -> None:
        self.path = path

    def remember(self, address: str, key: str, value: Any) -> None:
        self.path.write_text(json.dumps(value))

    def recall(self, address: str, key: str) -> Any:
        return json.loads(self.path.read_text()) if self.path.exists() else None


def main() -> None:
    folder, kind, url = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    noted = memory.remember

    def die_before_the_id(ctx: Any, job: memory.Remembered) -> memory.Remembered:
        if job.id:
            os.kill(os.getpid(), signal.SIGKILL)
        return noted(ctx, job)

    memory.remember = die_before_the_id
    held = FileMemory(folder / "memory.json")
    secrets = {'{"env":"REPLICATE_API_TOKEN"}': "r8-secret"}
    declared = remote_lora.comfy_declared(url) if kind == "comfyui" else remote_lora.cloud_declared(url)
    ctx = remote_lora.context(folder, declared, memory=held, secrets=secrets)
    spec = remote_lora.comfy_spec() if kind == "comfyui" else remote_lora.cloud_spec()
    train: Any = comfyui.train if kind == "comfyui" else replicate.train
    train(spec, spec.backend, remote_lora.job(folder, spec, ctx), ctx)


if __name__ == "__main__":
    main()
