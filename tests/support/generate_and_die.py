"""A worker that is killed between the submission of its second prompt and the note of its id.

argv: folder, url of a ComfyUI server.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from specrun.kinds.generations.generation import Generation
from specrun.kinds.generations.prompts import Prompts
from specrun.kinds.generations.spec import GenerationSpec
from specrun.kinds.lora_jobs.remote.memory import Remembered
from tests.support.context import make_context
from tests.support.remote_lora import FAST, comfy_declared


class FileMemory:
    def __init__(self, path: Path) -> None:
        self.path = path

    def remember(self, address: str, key: str, value: Any) -> None:
        self.path.write_text(json.dumps(value))

    def recall(self, address: str, key: str) -> Any:
        return json.loads(self.path.read_text()) if self.path.exists() else None


def main() -> None:
    folder, url = Path(sys.argv[1]), sys.argv[2]
    noted, known = Prompts._note, []

    def die_before_the_second_id(self: Prompts, job: Remembered, keys: Any) -> Remembered:
        if job.id:
            known.append(job.id)
            if len(known) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        return noted(self, job, keys)

    Prompts._note = die_before_the_second_id  # type: ignore[method-assign]
    backend = {"kind": "comfyui", "connection": "comfy", "checkpoint": "tiny", "poll": "30ms"}
    spec = GenerationSpec.model_validate(
        {"prompts": ["reefx at dusk"], "steps": 2, "size": (64, 64), "count": 3, "backend": backend}
    )
    memory = FileMemory(folder / "memory.json")
    declared = comfy_declared(url, max_jobs=2)
    Generation().run(spec, make_context(folder, "generations.x", settings=FAST, declarations=declared, memory=memory))


if __name__ == "__main__":
    main()
